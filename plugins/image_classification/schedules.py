"""When the retraining starts: when new images arrive, and on a cron in case their message was lost."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, AssetOrTimeSchedule, AssetWatcher, CronTriggerTimetable

from image_classification.deployment_settings import queue_settings
from image_classification.triggers.new_images import NewImagesTrigger


def on_new_images(cron: str) -> Any:
    """Start on `cron` (UTC), and on messages in the deployment's queue where its settings name one.

    The watcher deletes a message before Airflow has stored the event, so that one can be lost: hence the cron.
    """
    timetable = CronTriggerTimetable(cron, timezone="UTC")
    queue = queue_settings()
    if not queue:
        return timetable
    watcher = AssetWatcher(name="new-images-queue", trigger=NewImagesTrigger(**queue))
    return AssetOrTimeSchedule(timetable=timetable, assets=[Asset(name="new-images", watchers=[watcher])])
