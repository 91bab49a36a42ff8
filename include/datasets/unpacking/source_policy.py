"""What an installation allows of archives and record files, and of where they are read from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import TYPE_CHECKING

from include.datasets.unpacking.internal_addresses import Network
from include.datasets.unpacking.members import ExpansionLimits

if TYPE_CHECKING:
    from include.settings import Settings


@dataclass(frozen=True, slots=True)
class SourcePolicy:
    """Internal networks that may be read from, none by default, and how far an archive may expand."""

    networks: tuple[Network, ...] = ()
    limits: ExpansionLimits = field(default_factory=ExpansionLimits)
    hide: Callable[[str], None] = lambda _: None
    """Hears of every secret in an address before the address is used, for whoever keeps it out of logs."""

    @classmethod
    def of(cls, settings: Settings, hide: Callable[[str], None] = lambda _: None) -> SourcePolicy:
        """The policy of an installation."""
        return cls(
            networks=tuple(ip_network(network) for network in settings.source_networks),
            hide=hide,
            limits=ExpansionLimits(total=settings.archive_max_gb * 10**9, ratio=settings.archive_max_ratio),
        )


DEFAULT_POLICY = SourcePolicy()
