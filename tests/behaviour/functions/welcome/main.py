# /// script
# dependencies = ["fastapi"]
# ///
from fastapi import BackgroundTasks, FastAPI

app = FastAPI()


def send_welcome(address: str) -> None:
    print(f"welcome sent to {address}")


@app.post("/welcome/{address}", status_code=202)
async def welcome(address: str, background: BackgroundTasks) -> dict[str, str]:
    background.add_task(send_welcome, address)
    return {"accepted": address}
