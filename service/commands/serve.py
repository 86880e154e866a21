"""`gradcam serve`: uvicorn around the application."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

import structlog
import uvicorn
from pydantic import ValidationError

from cam_engine.commands import exit_status
from cam_engine.errors import InvalidOption
from cam_engine.process.memory import settle
from cam_engine.stores import access
from service.app import create_app
from service.commands.draining import DrainingServer
from service.http.protocol import PatientProtocol
from service.http.security import is_loopback
from service.settings import Settings

_log = structlog.get_logger(__name__)

_BACKLOG = 2048
_GRACE_SECONDS = 5.0


def serve(arguments: argparse.Namespace) -> int:
    """Run until stopped. Raises InvalidOption for settings that cannot work."""
    settings = _settings(arguments)
    check_data(settings.data_folder)
    if settings.auth != "off" and not settings.api_keys and not is_loopback(arguments.host):
        raise InvalidOption(
            f"--host {arguments.host} can be reached from other machines, and there are no API "
            "keys: set GRADCAM_API_KEYS (`gradcam key` makes one), or GRADCAM_AUTH=off to answer "
            "everybody"
        )
    app = create_app(settings)
    settle()
    config = uvicorn.Config(
        app,
        host=arguments.host,
        port=arguments.port,
        backlog=_BACKLOG,
        http=PatientProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_graceful_shutdown=round(settings.request_timeout_seconds + _GRACE_SECONDS),
    )
    if settings.auth == "off" and not settings.hosts and not is_loopback(arguments.host):
        _log.warning(
            "names in addresses are refused, only numbers are not: set GRADCAM_HOSTS to the names "
            "that the service is opened by"
        )
    server = DrainingServer(config, app.state.components.admission, settings.drain_seconds)
    # uvicorn raises the signal again once it has ended: to be stopped is no failure.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    try:
        server.run()
    except SystemExit:  # it could not listen, and has said so
        return exit_status.NOTHING_DONE
    return exit_status.DONE if server.started else exit_status.NOTHING_DONE


def check_data(root: Path) -> None:
    """Raises InvalidOption, or DataUnavailable where a bucket cannot be looked into."""
    access.look_into(root)
    if not root.is_dir():
        where = access.shown(root)
        raise InvalidOption(f"there is no data root {where}; name a results folder with --data")


def _settings(arguments: argparse.Namespace) -> Settings:
    named = {
        "data": arguments.data,
        "device": arguments.device,
        "default_model": arguments.model,
        "root_path": arguments.root_path,
        "log_format": arguments.log_format,
    }
    try:
        return Settings(**{name: value for name, value in named.items() if value is not None})
    except ValidationError as error:
        wrong = "; ".join(
            f"GRADCAM_{'_'.join(map(str, problem['loc'])).upper()}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise InvalidOption(f"settings are wrong: {wrong}") from error
