"""`Router`: which handler a request is for, by its path, on the maps of werkzeug.

Owns the way from a request to a handler with its arguments, and back to a path. It must not import
werkzeug before there is a router: that is optional, and takes 80 ms.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, TypeVar, Unpack
from urllib.parse import quote, unquote_to_bytes, urlsplit
from weakref import WeakKeyDictionary

from ._accepting import Accepting, ConfigureKeywords
from ._core.headers import Request, Response
from ._server_connection import ServerConnection

if TYPE_CHECKING:
    from werkzeug.routing import Map, MapAdapter, Rule, RuleFactory

__all__ = ["Router"]

RouteHandler = Callable[Concatenate[ServerConnection, ...], Awaitable[object]]
_H = TypeVar("_H", bound=RouteHandler)

# What a host is taken to be called where that makes no difference.
_ANY_HOST = "localhost"

# 200 characters of a path are enough to recognize it by.
_SHOWN = 200

# RFC 3986 §2.2, §2.3: what may stand in a URI as it is, of what `quote` does not leave by itself.
_SAFE_IN_LOCATION = "%:/?#[]@!$&'()*+,;="

_STANDARD_PORT = re.compile(r":(?:80|443)?$")


class Router:
    """Path patterns to handlers, on maps of werkzeug; to be given to `serve` as its handler.

    A handler is called with the connection, and with what the converters of its pattern have made
    of the path, by name. A path that leads nowhere is answered with 404.

    Patterns are those of `werkzeug.routing`: `/chat/<room>`, `/page/<int:number>`,
    `/files/<path:name>`. Where several fit, the one with most that is fixed goes first. A path is
    percent-decoded as a whole, an encoded slash too, and has to be UTF-8. Its arguments come from
    the client: `<room>` may be "..", or have a line end in it.

    A pattern that ends with a slash is found without it too, by a redirect, and so is one for a
    path with doubled slashes, as the map says. Redirects lead to a path of the same host; one that
    would lead elsewhere is answered with 404. Browsers follow none when they open a WebSocket.

    Args:
        url_map: a map of werkzeug's, with converters of your own, for instance, or with host
            matching. The endpoints of rules in it are handlers. None is one with the defaults.
        server_name: the host whose subdomains the map tells apart. Without it, only a map with
            host matching looks at the host.

    Attributes:
        url_map: where the patterns are; more rules may be added to it.

    Raises:
        ImportError: werkzeug is not installed.
        TypeError: an endpoint of `url_map` is no handler that takes the arguments of its pattern.
    """

    def __init__(self, url_map: Map | None = None, *, server_name: str | None = None) -> None:
        routing = _import_routing()
        self.url_map: Map = routing.Map() if url_map is None else url_map
        for rule in self.url_map.iter_rules():
            _check_handler(rule)
        self._server_name = None if server_name is None else server_name.lower()
        self._matches: WeakKeyDictionary[ServerConnection, _Match] = WeakKeyDictionary()

    # Building

    def route(
        self,
        pattern: str,
        *,
        name: str | None = None,
        host: str | None = None,
        subdomain: str | None = None,
        **options: Unpack[ConfigureKeywords],
    ) -> Callable[[_H], _H]:
        """Return a decorator that adds a handler; see `add`."""

        def decorate(handler: _H) -> _H:
            self.add(pattern, handler, name=name, host=host, subdomain=subdomain, **options)
            return handler

        return decorate

    def add(
        self,
        pattern: str,
        handler: RouteHandler,
        *,
        name: str | None = None,
        host: str | None = None,
        subdomain: str | None = None,
        **options: Unpack[ConfigureKeywords],
    ) -> None:
        """Add a handler for the paths of a pattern.

        Args:
            pattern: begins with a slash.
            handler: an async function of the `ServerConnection`, and of the arguments that the
                pattern names.
            name: for `path_for`.
            host: of these paths, a pattern too; for a map with host matching, which needs one.
            subdomain: likewise, for a router with a `server_name`.
            options: what is different for these connections from what `serve` was given; see
                `ServerConnection.configure`.

        Raises:
            TypeError, ValueError, LookupError, LocalProtocolError: the pattern or an option cannot
                be used, the handler does not take the arguments, or the name is taken. Nothing was
                added.
        """
        from werkzeug.routing import Rule

        Accepting().configured(options)  # fails here rather than for each request
        if subdomain is not None and self._server_name is None:
            raise ValueError(f"subdomain is {subdomain!r}, but the router has no server_name")
        route = _Route(handler, name, options)
        self._add(Rule(pattern, endpoint=route, host=host, subdomain=subdomain))

    def mount(self, prefix: str, router: Router) -> None:
        """Add what another router has by now, each pattern behind a prefix.

        Args:
            prefix: begins with a slash, and may name arguments too.
            router: its names are taken over; converters of its own this map needs too.

        Raises:
            TypeError, ValueError, LookupError: as for `add`. Nothing was added.
        """
        from werkzeug.routing import Submount

        if not prefix.startswith("/"):
            raise ValueError(f"prefix is {prefix!r}, expected a path, which begins with '/'")
        self._add(Submount(prefix, list(router.url_map.iter_rules())))

    def _add(self, factory: RuleFactory) -> None:
        """Add rules, all of them or none."""
        rules = list(factory.get_rules(self.url_map))
        taken = {_route(rule).name for rule in self.url_map.iter_rules()} - {None}
        for rule in rules:
            name = _route(rule).name
            if name in taken:
                raise ValueError(f"there is a route called {name!r} already")
            if (rule.host is not None) is not self.url_map.host_matching:
                is_needed = "needs one" if self.url_map.host_matching else "does not look at it"
                raise ValueError(f"host of {rule.rule!r} is {rule.host!r}, and the map {is_needed}")
            try:
                rule.bind(self.url_map)  # which reads the pattern
            except SyntaxError:  # out of the code that werkzeug makes of it
                raise ValueError(f"pattern {rule.rule!r} names an argument twice") from None
            _check_handler(rule)
        for rule in rules:
            self.url_map.add(rule.empty())

    # Serving

    def process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Find the handler of a request, and apply the options of its route.

        `serve` calls it, after its own `process_request`.

        Returns:
            A redirect, or a refusal with 404; None if there is a handler.
        """
        path = request.path_without_query
        found = self._find(_host(request), path)
        if found is None:
            shown = quote(path[:_SHOWN], safe="/%")
            return connection.respond(404, f"there is nothing at {shown}")
        if isinstance(found, _Redirect):
            location, query = found.location, request.path.partition("?")[2]
            if query and "?" not in location:
                location += "?" + query
            return connection.respond(found.status, f"it is at {location}", {"Location": location})
        if found.route.options:
            connection._use(found.route.settings(connection._accepting))
        self._matches[connection] = found
        return None

    def __call__(self, connection: ServerConnection) -> Awaitable[object]:
        """Run the handler of a connection, once.

        Raises:
            LookupError: `process_request` has found none, or was not asked.
        """
        # No async function: its frame would be there for as long as the handler runs.
        match = self._matches.pop(connection, None)
        if match is None:
            raise LookupError(
                "the router does not know this connection: give its process_request to wrap_server"
            )
        return match.route.handler(connection, **match.arguments)

    # Paths

    def path_for(self, target: str | RouteHandler, /, **arguments: object) -> str:
        """Return the path that leads to a handler, percent-encoded.

        `urllib.parse.urljoin(server.uri, path)` makes a URI of it.

        Args:
            target: the name of a route, or a handler.
            arguments: those of the pattern. Of several patterns the first that takes them counts.

        Raises:
            LookupError: there is no such route.
            ValueError: other arguments are needed, or no path has these values: a `<room>` cannot
                have a slash in it, for instance, or be empty or "..".

        >>> router = Router()
        >>> @router.route("/chat/<room>", name="chat")
        ... async def chat(ws, room): ...
        >>> router.path_for("chat", room="Tea & Cake")
        '/chat/Tea%20&%20Cake'
        """
        from werkzeug.routing import BuildError

        rules = [rule for rule in self.url_map.iter_rules() if _route(rule).is_called(target)]
        if not rules:
            raise LookupError(f"there is no route to {target!r}")
        host = self._server_name or _ANY_HOST
        adapter = self.url_map.bind(host, url_scheme="http")
        for rule in rules:
            if arguments.keys() <= rule.arguments:
                try:
                    url = adapter.build(rule.endpoint, arguments, append_unknown=False)
                except BuildError:
                    continue
                return self._checked(url, host, target)
        takes = " or ".join(str(sorted(rule.arguments)) for rule in rules)
        raise ValueError(f"arguments are {sorted(arguments)}, {target!r} takes {takes}")

    def _checked(self, url: str, host: str, target: str | RouteHandler) -> str:
        """Return the path of a URL that was built, if it leads where it is to lead."""
        parts = urlsplit(url)
        path = parts.path
        found = self._find(parts.netloc or host, path)
        # RFC 3986 §5.2.4: clients take segments of dots out, encoded or not.
        has_dots = not {".", ".."}.isdisjoint(path.split("/"))
        if has_dots or not isinstance(found, _Match) or not found.route.is_called(target):
            raise ValueError(f"{path!r} does not lead to {target!r}: a value cannot be in a path")
        return path

    # Finding

    def _find(self, host: str, encoded_path: str) -> _Match | _Redirect | None:
        """Find out where a path leads; None for nowhere."""
        from werkzeug.exceptions import HTTPException
        from werkzeug.routing import RequestRedirect

        try:
            path = unquote_to_bytes(encoded_path).decode()
        except UnicodeDecodeError:
            return None
        adapter = self._bind(host)
        if adapter is None or not path.startswith("/"):
            return None
        # A map may have rules of either kind; the methods of a request are for `serve` to check.
        for is_websocket in (False, True):
            try:
                endpoint, arguments = adapter.match(path, "GET", websocket=is_websocket)
            except RequestRedirect as exc:
                return _redirect(exc.code, exc.new_url, adapter)
            except HTTPException:
                continue
            return _Match(_as_route(endpoint), arguments)
        return None

    def _bind(self, host: str) -> MapAdapter | None:
        """Return the map as it is for a host, None if it is none of this server's."""
        from werkzeug.exceptions import HTTPException

        if self.url_map.host_matching:
            try:
                return self.url_map.bind(host, url_scheme="http")
            except HTTPException:  # a name that is not valid
                return None
        name = self._server_name
        if name is None:
            return self.url_map.bind(_ANY_HOST, url_scheme="http")
        if not f".{host}".endswith(f".{name}"):
            return None
        subdomain = host.removesuffix(name).removesuffix(".")
        return self.url_map.bind(name, subdomain=subdomain, url_scheme="http")


class _Route:
    """A handler, by which name it is called, and what is different for its connections."""

    __slots__ = ("_base", "_settings", "handler", "name", "options")

    def __init__(
        self,
        handler: RouteHandler,
        name: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.handler = handler
        self.name = name
        self.options = options or {}
        self._base: Accepting | None = None
        self._settings: Accepting | None = None

    def is_called(self, target: object) -> bool:
        """Say whether this is the route of a name, or of a handler."""
        return target == (self.name if isinstance(target, str) else self.handler)

    def settings(self, base: Accepting) -> Accepting:
        """Return what holds for this route where `base` holds for the server.

        One object for all connections, which saves each 800 bytes and 30 us.
        """
        if self._settings is None or self._base is not base:
            self._base, self._settings = base, base.configured(self.options)
        return self._settings


class _Match(NamedTuple):
    route: _Route
    arguments: Mapping[str, Any]


class _Redirect(NamedTuple):
    status: int
    location: str  # a path of the same host


def _import_routing() -> ModuleType:
    try:
        from werkzeug import routing
    except ImportError as exc:
        raise ImportError(
            "Router needs werkzeug, an extra: in a checkout, pip install '.[routing]'"
        ) from exc
    return routing


def _as_route(endpoint: Any) -> _Route:
    """Return the endpoint of a rule, a bare handler if it is none of ours, as a route."""
    return endpoint if isinstance(endpoint, _Route) else _Route(endpoint)


def _route(rule: Rule) -> _Route:
    return _as_route(rule.endpoint)


def _check_handler(rule: Rule) -> None:
    """Check that a rule has a handler that takes the arguments of its pattern.

    Raises:
        TypeError: it has none.
    """
    if rule.redirect_to is not None or rule.build_only:
        return
    handler = _route(rule).handler
    if isinstance(handler, Router):
        raise TypeError(f"the handler of {rule.rule!r} is a Router, which is for mount()")
    if not callable(handler):
        raise TypeError(f"the handler of {rule.rule!r} is {handler!r}, expected a function")
    # Imported late, as all that few need.
    from inspect import signature

    try:
        parameters = signature(handler)
    except ValueError:
        return  # a callable that does not tell
    try:
        parameters.bind(None, **dict.fromkeys(rule.arguments))
    except TypeError as exc:
        raise TypeError(f"the handler of {rule.rule!r} does not fit: {exc}") from None


def _host(request: Request) -> str:
    """Return the host that a request names, with its port unless that is a standard one."""
    return _STANDARD_PORT.sub("", request.headers.get("Host", "").lower())


def _redirect(status: int, url: str, adapter: MapAdapter) -> _Redirect | None:
    """Return a redirect to a path of the same host, None for one to anywhere else."""
    here = f"http://{adapter.get_host(None)}/"
    if not url.startswith(here):
        return None
    # Two slashes would make a host of what follows, and browsers take "\\" for one.
    path = quote(url.removeprefix(here).lstrip("/"), safe=_SAFE_IN_LOCATION)
    return _Redirect(status, "/" + path)
