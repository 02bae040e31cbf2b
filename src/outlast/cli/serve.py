"""``outlast serve``"""

import os
import sys
from pathlib import Path

import click

from outlast.admin import address
from outlast.cli.lines import wants_colour
from outlast.cli.parameters import FILE, LEVEL, PORT_NUMBER, Word
from outlast.config.address import HOST, PORT
from outlast.config.inspection import InspectMode
from outlast.core.errors import OutlastError
from outlast.core.policy import Policy
from outlast.database import choice
from outlast.telemetry.logs import Format, Level, Log
from outlast.telemetry.pressure import Pressure


@click.command()
@click.argument("directory", metavar="[DIR]", type=FILE, default=Path())
@click.option("--host", default=HOST, help="Address to listen on.")
@click.option("--port", type=PORT_NUMBER, default=PORT, help="0: any that is free.")
@click.option("--admin-host", default="127.0.0.1", help="Address that the admin API listens on.")
@click.option(
    "--admin-port",
    type=PORT_NUMBER,
    help="Port of the admin API; 0: any free one.",
    show_default=f"{address.DEFAULT_PORT}, or another if it is taken",
)
@click.option("--admin-tls-cert", type=FILE, help="PEM file; with it, the admin API uses TLS.")
@click.option("--admin-tls-key", type=FILE, help="PEM file, if the key is not in the certificate's file.")
@click.option("--admin-allow-plain", is_flag=True, help="Let the admin API listen beyond loopback without TLS.")
@click.option("--policy", type=Word(Policy), help="Overrides [edge_runtime] policy of config.toml.")
@click.option("--no-verify-jwt", is_flag=True, help="Let every caller in, with or without a token.")
@click.option("--env-file", type=FILE, help="Variables for the functions, instead of their .env files.")
@click.option("--log-format", type=Word(Format), help="pretty on a terminal, json otherwise.")
@click.option("--log-level", type=LEVEL, default="info", help="Only this level or higher.")
@click.option(
    "--database",
    metavar="embedded|off|URL",
    default=choice.EMBEDDED,
    help="Where the ledger is kept: in a PostgreSQL server of the project's own, only in memory, or in yours.",
)
@click.option(
    "--graceful-exit-timeout",
    type=click.FloatRange(min=0),
    default=15.0,
    help="Seconds that requests and tasks have to finish after SIGTERM, SIGINT or SIGHUP.",
)
@click.option("--require-sandbox", is_flag=True, help="Refuse to start if this machine cannot confine functions.")
@click.option("--no-sandbox", is_flag=True, help="Let functions do whatever the user who runs Outlast may do.")
@click.option(
    "--inspect-mode",
    type=Word(InspectMode),
    help="Let debuggers attach to TypeScript functions, which run at once or wait for one.",
)
@click.option("--inspect", is_flag=True, help="The same as --inspect-mode=wait.")
@click.option("--trust-proxy", is_flag=True, help="Believe X-Forwarded fields: only for a server behind a proxy.")
def serve(
    directory: Path,
    host: str,
    port: int,
    admin_host: str,
    admin_port: int | None,
    admin_tls_cert: Path | None,
    admin_tls_key: Path | None,
    admin_allow_plain: bool,
    policy: Policy | None,
    no_verify_jwt: bool,
    env_file: Path | None,
    log_format: Format | None,
    log_level: str,
    database: str,
    graceful_exit_timeout: float,
    require_sandbox: bool,
    no_sandbox: bool,
    inspect_mode: InspectMode | None,
    inspect: bool,
    trust_proxy: bool,
) -> None:
    """Serve the functions of a project over HTTP, and see their background tasks through.

    DIR is a project with supabase/functions, a folder of functions, or one function file; by default the current
    folder.

    To send traces, install 'outlast[otel]' and set OTEL_EXPORTER_OTLP_ENDPOINT.
    """
    if require_sandbox and no_sandbox:
        raise click.BadParameter("contradicts --require-sandbox", param_hint="--no-sandbox")
    try:
        choice.check(database)
    except OutlastError as error:
        raise click.BadParameter(str(error), param_hint="--database") from error
    # Imported here, because the help does not need them.
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
        inspect=inspect_mode or (InspectMode.WAIT if inspect else None),
    )
    if log_format is None:
        log_format = Format.PRETTY if sys.stdout.isatty() else Format.JSON

    async def run() -> int:
        pressure = Pressure()
        encoding = "utf-8" if log_format is Format.JSON else sys.stdout.encoding
        lines = output.Lines(sys.stdout.fileno(), encoding, pressure, lambda count: _tell_lost(log, count))
        log = Log(
            lines.write, format=log_format, colour=wants_colour(), level=Level.named(log_level), pressure=pressure
        )
        try:
            return await app.serve(options, log)
        finally:
            lines.close()

    sys.exit(uvloop.run(run()))


def _tell_lost(log: Log, count: int) -> None:
    text = f"{count} lines of this log were lost: its reader was too slow"
    log.emit("log_lost", level=Level.WARNING, msg=text, count=count)
