"""A call that is traced. Without traces, none of this is used."""

from outlast.core import outcome, routes
from outlast.core.limits import Verdict
from outlast.gateway import forward
from outlast.gateway.call import Call, Client
from outlast.gateway.ports import Ports
from outlast.wire import http1
from outlast.wire.tracing import RequestEnding, Trace


class TracedCall(Call):
    """Tells the tracer when it begins and how it ends, and the function which trace it is part of."""

    __slots__ = ("_failure", "_is_cut", "_reason", "_trace")

    _trace: Trace | None

    def __init__(self, client: Client, ports: Ports, head: http1.RequestHead) -> None:
        super().__init__(client, ports, head)
        self._failure: outcome.RequestEnd | None = None
        self._reason = ""
        self._is_cut = False
        self._trace = None
        if ports.tracer is None or head.path == routes.HEALTH:
            return
        found = routes.route(head.path, head.query)
        # A client may ask for any name; unknown ones must not become route names.
        name = found.name if found is not None and found.name in ports.services else ""
        prefix = routes.PREFIX.decode() if head.path.startswith(routes.PREFIX + b"/") else ""
        address, scheme = _claims(client.origin, head)
        self._trace = ports.tracer.begin(
            self._request_id,
            head,
            function=name,
            route=f"{prefix}/{name}" if name else "",
            scheme=scheme,
            client=address,
        )

    def fail(
        self,
        end: outcome.RequestEnd,
        execution_id: str,
        why: str = "",
        *,
        limit: Verdict | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        self._failure = end
        self._reason = limit.reason if limit is not None else ""
        super().fail(end, execution_id, why, limit=limit, retry_after_s=retry_after_s)

    def lost(self) -> None:
        self._is_cut = not self._refused
        super().lost()

    def _worker_head(self, head: http1.RequestHead, target: bytes, request_id: bytes, origin: forward.Origin) -> bytes:
        if self._trace is None:
            return forward.request_head(head, target, request_id, origin)
        return forward.request_head_with_context(head, target, request_id, origin, self._trace.context)

    def _report(self) -> None:
        super()._report()
        if self._trace is not None:
            self._trace.end(
                RequestEnding(
                    status=self.status,
                    execution_id=self._execution_id,
                    ms=round(self._ms, 2),
                    failure=self._failure,
                    reason=self._reason,
                    refused=self._refused,
                    is_cut=self._is_cut,
                )
            )


def _claims(origin: forward.Origin, head: http1.RequestHead) -> tuple[str, str]:
    """The client's address and the scheme of the URL; from the X-Forwarded fields only if they are trusted."""
    address, scheme = origin.address, b"http"
    if origin.trusted:
        address = forward.first_hop(head.fields, b"x-forwarded-for") or address
        scheme = forward.first_hop(head.fields, b"x-forwarded-proto") or scheme
    return address.decode("latin-1"), scheme.decode("latin-1")
