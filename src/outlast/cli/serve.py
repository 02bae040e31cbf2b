"""``outlast serve``"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from outlast.admin import address
from outlast.core.errors import OutlastError
from outlast.core.policy import Policy
from outlast.database import choice
from outlast.telemetry.logs import Format, Level, Log
from outlast.telemetry.pressure import Pressure


def serve(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="Holds supabase/functions; or is a folder of functions; or is one function file.",
            show_default="the current folder",
        ),
    ] = Path(),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any that is free.", min=0, max=65535)] = 54321,
    admin_host: Annotated[str, typer.Option(help="Address that the admin API listens on.")] = "127.0.0.1",
    admin_port: Annotated[
        int | None,
        typer.Option(
            help="0: any that is free.",
            min=0,
            max=65535,
            show_default=f"{address.DEFAULT_PORT}, or another if it is taken",
        ),
    ] = None,
    admin_tls_cert: Annotated[
        Path | None, typer.Option(help="PEM file: the admin API speaks TLS.", show_default=False)
    ] = None,
    admin_tls_key: Annotated[
        Path | None, typer.Option(help="PEM file, where the key is not in that of the certificate.", show_default=False)
    ] = None,
    admin_allow_plain: Annotated[
        bool, typer.Option("--admin-allow-plain", help="Let the admin API listen beyond loopback without TLS.")
    ] = False,
    policy: Annotated[
        Policy | None, typer.Option(help="Overrides [edge_runtime] policy of config.toml.", show_default=False)
    ] = None,
    no_verify_jwt: Annotated[bool, typer.Option("--no-verify-jwt", help="Let every caller pass.")] = False,
    env_file: Annotated[
        Path | None, typer.Option(help="Variables for the functions, instead of functions/.env.", show_default=False)
    ] = None,
    log_format: Annotated[
        Format | None, typer.Option(help="pretty on a terminal, json otherwise.", show_default=False)
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.", metavar="LEVEL")] = "info",
    database: Annotated[
        str,
        typer.Option(
            metavar="embedded|off|URL",
            help="Where the ledger is kept: in a PostgreSQL server of the project's own, nowhere, or in one of yours.",
        ),
    ] = choice.EMBEDDED,
    graceful_exit_timeout: Annotated[
        float, typer.Option(help="Seconds that requests and tasks have to finish after SIGTERM or SIGINT.", min=0)
    ] = 15.0,
    require_sandbox: Annotated[
        bool, typer.Option("--require-sandbox", help="Refuse to start where this machine cannot confine functions.")
    ] = False,
    no_sandbox: Annotated[
        bool, typer.Option("--no-sandbox", help="Let functions do whatever the user who runs this may do.")
    ] = False,
    trust_proxy: Annotated[
        bool, typer.Option("--trust-proxy", help="Believe the X-Forwarded fields that clients send.")
    ] = False,
) -> None:
    """Serve the functions of a project over HTTP, and see their background tasks through.

    Traces are sent where OpenTelemetry's variables say so: install 'outlast[otel]', set OTEL_EXPORTER_OTLP_ENDPOINT.
    """
    if log_level not in {level.label for level in Level}:
        raise typer.BadParameter(f"{log_level!r} is not one of debug, info, warning, error", param_hint="--log-level")
    if require_sandbox and no_sandbox:
        raise typer.BadParameter("contradicts --require-sandbox", param_hint="--no-sandbox")
    try:
        choice.check(database)
    except OutlastError as error:
        raise typer.BadParameter(str(error), param_hint="--database") from error
    # The help has no use for what it takes to serve.
    import uvloop

    from outlast import app
    from outlast.cli import output

    required = app.Sandbox.REQUIRED if require_sandbox else app.Sandbox.AVAILABLE
    options = app.Options(
        target=directory,
        environ=os.environ,
        host=host,
        port=port,
        policy=policy,
        verify_jwt=not no_verify_jwt,
        env_file=env_file,
        graceful_exit_timeout_s=graceful_exit_timeout,
        trust_proxy=trust_proxy,
        admin=address.Address(
            host=admin_host,
            port=admin_port,
            certificate=admin_tls_cert,
            key=admin_tls_key,
            allow_plain=admin_allow_plain,
        ),
        sandbox=app.Sandbox.NONE if no_sandbox else required,
        database=database,
    )
    if log_format is None:
        log_format = Format.PRETTY if sys.stdout.isatty() else Format.JSON

    async def run() -> int:
        pressure = Pressure()
        encoding = "utf-8" if log_format is Format.JSON else sys.stdout.encoding
        lines = output.Lines(sys.stdout.fileno(), encoding, pressure, lambda count: _tell_lost(log, count))
        log = Log(
            lines.write, format=log_format, colour=_wants_colour(), level=Level.named(log_level), pressure=pressure
        )
        try:
            return await app.serve(options, log)
        finally:
            lines.close()

    sys.exit(uvloop.run(run()))


def _tell_lost(log: Log, count: int) -> None:
    text = f"{count} lines of this log were lost: its reader was too slow"
    log.emit("log_lost", level=Level.WARNING, msg=text, count=count)


def _wants_colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
