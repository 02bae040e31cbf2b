"""Where functions are called unless the command line says otherwise: as with Supabase's own command line."""

HOST = "127.0.0.1"
PORT = 54321
URL = f"http://{HOST}:{PORT}"
