"""What routes depend on: the services, the caller's key, pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Query, Request, Security
from fastapi.security import HTTPBearer

from app.errors import Flaw, Invalid

if TYPE_CHECKING:
    from app.factory import Services

bearer = HTTPBearer(auto_error=False, description="An API key. None is needed on loopback until one exists.")


def services(request: Request) -> Services:
    """The services that the app was made with."""
    found: Services = request.app.state.services
    return found


Use = Annotated[Any, Depends(services)]


def require(*scopes: str) -> Any:
    """A dependency: the caller's key must have one of some scopes. Gives the key's id."""

    def check(request: Request, _: Annotated[Any, Security(bearer)] = None) -> str:
        refuse_unknown(request, {field.alias for field in request.scope["route"].dependant.query_params})
        key: str = services(request).keys.check(request.headers.get("authorization"), *scopes)
        return key

    return Depends(check)


READING = require("predict", "train")
"""Who trains looks at what came of it, and who predicts at what answers."""


def refuse_unknown(request: Request, known: set[str]) -> None:
    """A query parameter that no route reads is a mistake, not a wish. Raises `Invalid`."""
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        flaws = [
            Flaw(
                detail=f"unknown query parameter; known: {', '.join(sorted(known)) or 'none'}", pointer=f"/{name[:60]}"
            )
            for name in unknown
        ]
        raise Invalid("the query has a parameter that this route does not know", errors=flaws)


ONCE = "A key of your own: sent again with the same body, it gives the first answer again."
PageSize = Annotated[int, Query(ge=1, le=1000, description="Items of a page at most.")]
PageToken = Annotated[str, Query(max_length=400, description="`next_page_token` of the page before.")]
