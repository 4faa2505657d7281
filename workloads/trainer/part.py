"""One part of the model at one site, between its owner and its like at the other sites."""

import hashlib
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from workloads.spec.errors import UserError
from workloads.spec.launch import LaunchSpec, SiteLaunch
from workloads.sync import Exchange, Synchronizer
from workloads.sync.member import Member
from workloads.sync.membership import Membership
from workloads.trainer.checkpoints.state import splits
from workloads.trainer.finished import course_digest
from workloads.trainer.parallelise import ParallelModel

_LOOK_S = 5.0  # between two looks whether a peer that is not heard from trains something else
_FRAMES = "frames"  # folder in the site's own
_NAME_LIMIT, _DIGEST_LENGTH = 63, 16


@dataclass(frozen=True)
class Part:
    """A part's exchange and synchronizer, and its say in who takes part; that of the first part speaks for all."""

    exchange: Exchange
    synchronizer: Synchronizer
    member: Member

    def agree_on_round(self, usable: list[int], run_id: str) -> int:
        """The newest of the `usable` rounds after which all sites can go on, for this part; waits for all of them.

        Raises:
            MustHealError: the others went on without this site, or too far.
            UserError: a peer trains with another recipe or plan.
        """
        start = self.member.start if isinstance(self.member, Membership) else self.exchange.rendezvous
        while True:
            try:
                return start(usable, _LOOK_S)
            except UserError as error:
                if f"this is {run_id}-" in str(error) and "foreign-run" in str(error):
                    time.sleep(_LOOK_S)  # the peer has to find out as well, and would not from a site that is gone
                    raise UserError(
                        f"site {self.exchange.site}: a peer trains run {run_id} with another recipe, plan or data "
                        f"({error}); start all sites with the same launch"
                    ) from None
                if "no word from" not in str(error):
                    raise


@contextmanager
def open_part(launch: LaunchSpec, site: SiteLaunch, parallel: ParallelModel) -> Iterator[Part]:
    """This rank's part, its exchange started. `parallel` has the parameters that every site begins with.

    Raises:
        UserError: the exchange's port is in use, or plain text is asked for off loopback.
    """
    exchange = Exchange(
        run_id=_exchange_id(launch),
        site=site.name,
        listen=site.listen[parallel.part],
        peers={name: endpoints[parallel.part] for name, endpoints in site.peers.items()},
        credentials=site.credentials,
        max_frame_bytes=parallel.size * torch.float32.itemsize,
        part=parallel.part,
        fragments=launch.plan.fragments,
        checkpoint_rounds=launch.recipe.train.checkpoint.every_rounds,
        spool=_empty(site.work / _FRAMES / str(parallel.part)),
    )
    exchange.start()
    with closing(exchange):
        synchronizer = Synchronizer(
            site=site.name,
            sites=[peer.name for peer in launch.sites],
            initial=parallel.flatten(),  # not kept here: it is as large as the model
            plan=launch.plan,
            exchange=exchange,
        )
        with closing(synchronizer):
            if parallel.part:
                yield Part(exchange, synchronizer, Member(exchange, synchronizer))
                return
            with Membership(
                exchange=exchange,
                synchronizer=synchronizer,
                spec=launch.recipe.train.membership,
                folder=site.work,
                parts=parallel.parts,
            ) as membership:
                yield Part(exchange, synchronizer, membership)


def _empty(folder: Path) -> Path:
    """`folder`, without what an earlier process has left there."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _exchange_id(launch: LaunchSpec) -> str:
    """The run's name with a digest of what all sites must agree on: a peer that does not is refused as foreign."""
    split = splits(next(iter(launch.plan.sites.values())).layout)  # the same at all sites
    digest = hashlib.sha256(f"{course_digest(launch)} {split}".encode()).hexdigest()[:_DIGEST_LENGTH]
    return f"{launch.run_id[: _NAME_LIMIT - _DIGEST_LENGTH - 1]}-{digest}"
