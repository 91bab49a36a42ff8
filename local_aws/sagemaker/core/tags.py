"""Tags of SageMaker's resources, by ARN."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from local_aws.aws_errors import resource_limit_exceeded, validation_error
from local_aws.sagemaker.core.area import Action, Area, Document, Neighbours
from local_aws.service import NotHeldHere

MOST_TAGS = 50


class Tags(Area):
    """AddTags, ListTags and DeleteTags for every resource that an area has registered."""

    def __init__(self, sagemaker: Neighbours) -> None:
        super().__init__(sagemaker)
        self._lock = threading.Lock()
        self._tags: dict[str, dict[str, str]] = {}

    @property
    def actions(self) -> Mapping[str, Action]:
        """The actions on tags."""
        return {"AddTags": self._add, "ListTags": self._list, "DeleteTags": self._delete}

    def register(self, arn: str, tags: Iterable[Mapping[str, str]] = ()) -> None:
        """Keep the tags of a new resource; from now on it may be tagged."""
        with self._lock:
            self._tags[arn] = {tag["Key"]: tag["Value"] for tag in tags}

    def forget(self, arn: str) -> None:
        """Drop the tags of a resource that is gone."""
        with self._lock:
            self._tags.pop(arn, None)

    def of(self, arn: str) -> list[Document]:
        """The tags of a resource, as the API lists them."""
        with self._lock:
            return [{"Key": key, "Value": value} for key, value in self._of(arn).items()]

    def _add(self, request: Document) -> Document:
        check_tags(request["Tags"])
        with self._lock:
            kept = self._of(request["ResourceArn"])
            merged = {**kept, **{tag["Key"]: tag["Value"] for tag in request["Tags"]}}
            if len(merged) > MOST_TAGS:
                raise resource_limit_exceeded(
                    f"{request['ResourceArn']} would have {len(merged)} tags: {MOST_TAGS} at most"
                )
            kept.update(merged)
        return {"Tags": self.of(request["ResourceArn"])}

    def _list(self, request: Document) -> Document:
        tags = self.of(request["ResourceArn"])
        size = request.get("MaxResults", MOST_TAGS)
        start = int(request["NextToken"]) if request.get("NextToken", "").isdigit() else 0
        more = str(start + size) if len(tags) > start + size else None
        return {"Tags": tags[start : start + size], "NextToken": more}

    def _delete(self, request: Document) -> Document:
        with self._lock:
            kept = self._of(request["ResourceArn"])
            for key in request["TagKeys"]:
                kept.pop(key, None)
        return {}

    def _of(self, arn: str) -> dict[str, str]:
        if arn not in self._tags:
            if arn.rpartition(":")[2].partition("/")[0] not in self.sagemaker.resource_types:
                raise NotHeldHere
            raise validation_error(f"Could not find resource {arn!r}.")
        return self._tags[arn]


def check_tags(tags: Iterable[Mapping[str, str]]) -> None:
    """Refuse what AWS refuses of tags: a key twice, and keys of its own prefix; raises ValidationException."""
    keys = [tag["Key"] for tag in tags]
    if len(set(keys)) < len(keys):
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise validation_error(f"Duplicate tag keys found: {', '.join(twice)}. Tag keys must be unique.")
    reserved = [key for key in keys if key.lower().startswith("aws:")]
    if reserved:
        raise validation_error(f"Tag keys must not begin with aws:, which is reserved: {', '.join(reserved)}")
