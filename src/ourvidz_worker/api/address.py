"""One address: its methods, and how a request passes from the door to the route."""

from collections.abc import Sequence
from contextlib import nullcontext

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ourvidz_worker.api.auth import Access, check_access
from ourvidz_worker.api.border import REQUEST_ID
from ourvidz_worker.api.call import Call, Site
from ourvidz_worker.api.row import Row
from ourvidz_worker.domain.errors import MethodNotAllowed


class Address:
    """Every method of one path, an ASGI application."""

    def __init__(self, rows: Sequence[Row], site: Site) -> None:
        """`rows` are those of one path."""
        self._site = site
        self._rows = {row.method: row for row in rows}
        get = self._rows.get("GET")
        if get is not None and not get.streams:
            self._rows["HEAD"] = get
        self._allow = ", ".join(sorted([*self._rows, "OPTIONS"]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; errors go to the border."""
        if scope["method"] == "OPTIONS":
            await Response(status_code=204, headers={"Allow": self._allow})(scope, receive, send)
            return
        row = self._rows.get(scope["method"])
        if row is None:
            raise MethodNotAllowed(allow=self._allow)
        request = Request(scope, receive)
        site = self._site
        credential = site.keys.judge(request.headers)
        check_access(site.settings.auth_mode, row.access, credential)
        call = Call(site=site, request=request, request_id=scope[REQUEST_ID], credential=credential)
        with call.place() if row.access is Access.INFERENCE else nullcontext():
            reply = await row.handle(call)
            await reply(scope, receive, send)
