"""Strategy ``keystone``: Keystone says whose token it is, oslo.policy what that user may do.

Both read their own sections of our configuration file. A validation may wait for Keystone, so it
is done in a worker thread, and is kept for ``token_cache_time``. Tokens of the register's own table
go on beside Keystone's, for agents: those do not end within hours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request

from servicegroup.api.access.policy import RULES
from servicegroup.api.access.tokens import Tokens, is_ours, token_of
from servicegroup.api.call import Caller, Rule
from servicegroup.config import Settings
from servicegroup.errors import ConfigError, Unauthorized, Unavailable
from servicegroup.keystone_settings import SECTION, for_libraries

_WAITING = 10
"""Requests that wait for Keystone at once; a thread each, apart from those that do the work."""


class KeystoneCaller(Caller, frozen=True, kw_only=True):
    """A user that Keystone knows; the policy decides by ``context`` what they may do."""

    enforcer: Any
    context: Any

    def may(self, rule: Rule) -> bool:
        """Ask the policy, which may have been edited."""
        return bool(self.enforcer.enforce(rule.name, {}, self.context))

    def needs(self, rule: Rule) -> str:
        """Return which rule of the policy refuses."""
        return f"what the policy asks for in {rule.name}"


class Keystone:
    """Asks Keystone about every token that is not the register's own."""

    def __init__(self, settings: Settings, tokens: Tokens) -> None:
        """Read [keystone_authtoken] and [oslo_policy]; Keystone need not answer yet.

        Raises ConfigError.
        """
        conf = for_libraries(settings)
        from keystoneauth1.exceptions import ClientException
        from keystonemiddleware.auth_token import AuthProtocol

        self._tokens = tokens
        self._failure = ClientException
        self._waiting = CapacityLimiter(_WAITING)
        self._enforcer = _enforcer(conf)
        try:
            self._middleware = AuthProtocol(_accept, {"oslo_config_config": conf})
        except Exception as error:  # of as many kinds as it uses libraries
            raise ConfigError(f"[{SECTION}] cannot be used: {_line(error)}.") from error
        self._uri = conf.keystone_authtoken.www_authenticate_uri or ""

    async def caller(self, request: Request) -> Caller:
        """Return whose token it is; see ``Authenticator``."""
        text = token_of(request)
        if not text or is_ours(text):
            return await self._tokens.caller(request, self._uri)
        return await to_thread.run_sync(self._ask, request, text, limiter=self._waiting)

    async def run(self) -> None:
        """Follow the register's own tokens; see ``Authenticator``."""
        await self._tokens.run()

    def _ask(self, request: Request, text: str) -> Caller:
        from webob import Request as WSGIRequest

        # Method and path, since an application credential may be for some of them only.
        path = request.url.path.encode("utf-8", "surrogateescape").decode("latin-1")
        asked = WSGIRequest.blank("/", {"PATH_INFO": path}, headers={"X-Auth-Token": text})
        asked.method = request.method
        try:
            status = asked.get_response(self._middleware).status_int
        except self._failure as error:
            raise Unavailable(f"Keystone cannot be asked who sends this: {error}") from error
        if status == 401:
            raise Unauthorized(self._uri)
        if status != 200:
            raise Unavailable("Keystone cannot be asked who sends this; see the log.")
        return self._known(asked.environ)

    def _known(self, environ: dict[str, Any]) -> Caller:
        from oslo_context.context import RequestContext

        context = RequestContext.from_environ(environ, overwrite=False)
        where = context.project_name or context.domain_name or "the system"
        return KeystoneCaller(
            user=f"{context.user_name} ({context.user_id}) in {where}",
            roles=frozenset(),
            project_id=context.project_id,
            enforcer=self._enforcer,
            context=context,
        )


def rules() -> list[Any]:
    """Return the policy's rules with their defaults, for oslo.policy's generators too."""
    from oslo_policy.policy import RuleDefault

    return [
        RuleDefault(rule.name, rule.check, rule.what, scope_types=list(rule.scopes))
        for rule in RULES
    ]


def _enforcer(conf: Any) -> Any:
    from oslo_policy.policy import Enforcer

    enforcer = Enforcer(conf)
    enforcer.register_defaults(rules())
    try:
        enforcer.load_rules()
    except Exception as error:  # as many kinds as there are parsers in it
        raise ConfigError(f"[oslo_policy] policy_file cannot be used: {_line(error)}.") from error
    return enforcer


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _accept(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Stand behind the middleware: whoever comes so far is known, and the environ says who."""
    start("200 OK", [])
    return ()
