"""The same service on Ray Serve: replicas on one machine or many, restarted when they die, scaled by load.

    pip install "tacita[server,ray]"
    serve run fhe_server.service.ray_app:app_builder models=/path/to/models replicas=2

Every replica is an actor with the ASGI app of `tacita-server serve` (serving.make_app), its own batching and its own
memory maps. No query needs to find the replica that answered the one before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from fhe_server.home import models_folder
from fhe_server.service.config import Settings
from fhe_server.service.serving import ServeOptions, make_app


def make_replica_app(models: str = "", tokens: str = "", device: str = "cpu") -> Starlette:
    """The ASGI app of one replica.

    Args:
        models: folder of imported models; empty means the user's.
        tokens: token file; empty lets everyone in.
        device: "cpu" or "cuda".
    """
    settings = Settings(glwe=False)  # a key of that scheme is known to one process only
    options = ServeOptions(
        models=Path(models) if models else models_folder(),
        device=device,
        tokens=Path(tokens) if tokens else None,
        glwe=False,
        settings=settings,
    )
    return make_app(options)


def app_builder(arguments: dict[str, str]) -> Any:
    """What `serve run` calls; returns Ray's application.

    Args:
        arguments: `models`, `tokens`, `device`, `replicas` (a number, or "auto"), `cpus` of each, all text.
    """
    from ray import serve

    chosen = {k: v for k, v in arguments.items() if k in ("models", "tokens", "device")}
    replicas = arguments.get("replicas", "auto")

    def build() -> Starlette:
        return make_replica_app(**chosen)

    @serve.deployment(
        name="tacita",
        num_replicas=replicas if replicas == "auto" else int(replicas),
        max_ongoing_requests=1024,  # WebSockets that stay open; the app's own limits refuse more
        health_check_period_s=2,
        graceful_shutdown_timeout_s=30,
        ray_actor_options={"num_cpus": float(arguments.get("cpus", "1"))},
    )
    @serve.ingress(build)
    class Tacita:
        """One replica."""

    deployment: Any = Tacita  # the decorators have made it one
    return deployment.bind()
