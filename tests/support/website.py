"""A small web site on loopback, for pipelines that fetch pages."""

from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.support.loopback import LoopbackServer

# Long enough that a text extractor takes the article for the main content of the page.
PAGE = """<!doctype html>
<html lang="en"><head><title>{title}</title></head>
<body>
<nav><a href="/">Home</a> <a href="/whales">Whales</a> <a href="/bridges">Bridges</a></nav>
<article><h1>{title}</h1>
<p>{text}</p>
</article>
<footer>All rights reserved by nobody.</footer>
</body></html>
"""


def page(title: str, text: str) -> str:
    """An HTML page with navigation and a footer around one article."""
    return PAGE.format(title=title, text=text)


DEFAULT_PAGES = {
    "/": page(
        "The Harbour Gazette",
        "The Harbour Gazette is a weekly paper about the sea and the town beside it. It was founded in 1897 by "
        "Ada Lindqvist, who set the first issue by hand in a shed behind the fish market.",
    ),
    "/whales": page(
        "Whales",
        "The blue whale is the largest animal known to have lived. Its heart weighs about 180 kilograms, and its "
        "call can be heard by other whales hundreds of kilometres away.",
    ),
    "/bridges": page(
        "Bridges",
        "The old swing bridge of Harbour Town opens twice a day for the ferry. It was built in 1931 and is turned "
        "by two electric motors that replaced the hand crank.",
    ),
}


class Website(LoopbackServer):
    """Serves *pages* (path to HTML) and answers 404 elsewhere.

    Attributes:
        pages: May be changed while the site is up.
        requested: Paths that clients asked for, in order.
    """

    def __init__(self, pages: Mapping[str, str] | None = None) -> None:
        self.pages = dict(DEFAULT_PAGES if pages is None else pages)
        self.requested: list[str] = []
        super().__init__(Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET"])]))

    def url(self, path: str = "/") -> str:
        """Absolute address of *path*."""
        return self.origin + path

    async def _answer(self, request: Request) -> Response:
        path = request.url.path
        self.requested.append(path)
        if path not in self.pages:
            return PlainTextResponse("Not found.", status_code=404)
        return Response(self.pages[path], media_type="text/html")
