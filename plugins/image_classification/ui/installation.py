"""The installation behind the pages: its settings, clients that give up soon, prices, and what was looked up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any

from image_classification.context import AwsAccess, read_settings
from include.catalog import Lookups
from include.preflight.machines import PRICE_LIST_REGION, PriceList
from include.settings import SettingsError

if TYPE_CHECKING:
    from fastapi import Request

    from include.settings import Settings

log = logging.getLogger(__name__)

CLIENTS_SECONDS = 600.0
"""After this time a connection is read again: somebody may have changed it."""


@dataclass(frozen=True)
class Connected:
    """An installation as it is now: settings, and AWS as they say it is reached.

    Making a client takes long, so looks ask for it, in the background, and no page does.
    """

    settings: Settings
    access: AwsAccess
    _made: dict[str, Any] = field(default_factory=dict)
    _priced: dict[tuple[str, str], float | None] = field(default_factory=dict)
    _lock: Any = field(default_factory=Lock)

    def client(self, service: str, *, patient: bool = False) -> Any:
        """A boto3 client of one service, one for all threads; a `patient` one waits as a task's client does."""
        make = self.access.client if patient else self._clients
        with self._lock:
            return self.access.kept(self._made, service, lambda: make(service))

    def price(self, machine: str, use: Any) -> float | None:
        """USD an hour; None if it is not known, which is not asked again soon."""
        if (machine, use) not in self._priced:
            self._priced[machine, use] = self._prices.if_known(machine, use)
        return self._priced[machine, use]

    @cached_property
    def _clients(self) -> Callable[..., Any]:
        return self.access.quick_clients()

    @cached_property
    def _prices(self) -> PriceList:
        with self._lock:
            client = self._clients("pricing", PRICE_LIST_REGION)
        return PriceList(own=self.settings.prices, region=self.settings.region, client=client)


class Installation:
    """What every page shares.

    `quick` looks belong to a page, `slow` ones are of one thing of many. `heavy` ones read whole manifests or images:
    one at a time, and few of them are kept.
    """

    def __init__(self) -> None:
        self.quick = Lookups(workers=4, most=500)
        self.slow = Lookups(workers=4, most=5000)
        self.heavy = Lookups(workers=1, most=40)
        self._connected: Connected | None = None
        self._until = 0.0
        self._lock = Lock()

    @classmethod
    def of(cls, request: Request) -> Installation:
        """The one that all requests to these pages share."""
        found: Installation = request.app.state.installation
        return found

    def connected(self) -> Connected:
        """The installation now. Raises SettingsError with everything that is wrong with its settings."""
        settings, problems = read_settings()
        if problems:
            raise SettingsError(problems)
        with self._lock:
            known = self._connected
            if known is None or known.settings != settings or monotonic() >= self._until:
                self._connected = Connected(settings, AwsAccess.of(settings))
                self._until = monotonic() + CLIENTS_SECONDS
            return self._connected  # type: ignore[return-value]

    def has_changed(self, dataset: str) -> None:
        """Look at everything of a dataset again: somebody has used a button."""
        self.quick.forget(lambda key: dataset in key)
