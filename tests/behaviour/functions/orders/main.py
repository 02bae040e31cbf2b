# /// script
# dependencies = ["fastapi"]
# ///
from _shared.gate import gate
from fastapi import BackgroundTasks, FastAPI
from pydantic import BaseModel

app = FastAPI()


class Order(BaseModel):
    item: str
    count: int = 1


async def confirm(work: str) -> None:
    await gate(work)


def bill(work: str) -> None:
    print(f"{work} billed")


async def refuse(work: str) -> None:
    await gate(work)
    raise LookupError(f"{work} is sold out")


@app.post("/orders/{number}", status_code=202)
async def order(number: int, order: Order, work: str, background: BackgroundTasks) -> dict[str, object]:
    background.add_task(confirm, work)
    background.add_task(bill, work)
    return {"number": number, "order": order}


@app.post("/orders/{number}/refused")
async def refused(number: int, work: str, background: BackgroundTasks) -> int:
    background.add_task(refuse, work)
    return number
