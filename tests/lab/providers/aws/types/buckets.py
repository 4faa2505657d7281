"""S3: a bucket, and its settings, each of which is a resource to Pulumi. Any interface of S3's kind takes these."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from tests.lab.providers.aws.cloud import GONE, code
from tests.lab.providers.aws.shapes import camel
from tests.lab.providers.aws.spec import Op, Step, Tagging, Type, Work, arn
from tests.lab.providers.contract import Values

_BUCKET = {"Bucket": "$bucket"}
_FIRST_REGION = "us-east-1"  # the one that is no constraint of a location


@dataclass(frozen=True)
class _Tagging(Tagging):
    """All of a bucket's tags are set at once."""

    def change(self, work: Work, there: Mapping[str, str]) -> None:
        pairs = [{"Key": key, "Value": value} for key, value in sorted(work.new["tagsAll"].items())]
        work.call("put_bucket_tagging", Bucket=work.id, Tagging={"TagSet": pairs})

    def there(self, work: Work) -> Any:
        try:
            return work.call("get_bucket_tagging", Bucket=work.id)["TagSet"]
        except ClientError as error:
            if GONE.search(code(error)):
                return []
            raise


def _bucket(work: Work) -> str:
    place = {"CreateBucketConfiguration": {"LocationConstraint": work.region}} if work.region != _FIRST_REGION else {}
    work.call("create_bucket", Bucket=work.new["bucket"], **place)
    return str(work.new["bucket"])


def _erased(work: Work) -> None:
    if work.new.get("forceDestroy"):
        for upload in work.call("list_multipart_uploads", Bucket=work.id).get("Uploads") or []:
            work.call("abort_multipart_upload", Bucket=work.id, Key=upload["Key"], UploadId=upload["UploadId"])
        while rows := _versions(work):  # a list is of a thousand at most
            work.call("delete_objects", Bucket=work.id, Delete={"Objects": rows, "Quiet": True})
    work.call("delete_bucket", Bucket=work.id)


def _versions(work: Work) -> list[Values]:
    listed = work.call("list_object_versions", Bucket=work.id)
    rows = [*(listed.get("Versions") or []), *(listed.get("DeleteMarkers") or [])]
    return [{"Key": row["Key"], "VersionId": row["VersionId"]} for row in rows]


BUCKET = Type(
    "aws:s3/bucket:Bucket",
    "s3",
    create=_bucket,
    read=Op("head_bucket", {"Bucket": "$id"}),
    delete=_erased,
    local=frozenset({"forceDestroy"}),
    tagging=_Tagging("", "", "Bucket"),
    outputs={
        "arn": arn("s3", "$id", region=False),
        "bucketDomainName": lambda work: f"{work.id}.s3.amazonaws.com",
        "bucketRegionalDomainName": lambda work: f"{work.id}.s3.{work.region}.amazonaws.com",
    },
    unique=("bucket",),
)


def _setting(
    kind: str,
    noun: str,
    inputs: tuple[str, ...],
    argument: str,
    *,
    names: Mapping[str, str] | None = None,
    delete: Step | None = None,
    stays: bool = False,
) -> Type:
    """`put_NOUN`, `get_NOUN` and `delete_NOUN`, and the argument of the first that holds the inputs."""

    def put(work: Work) -> str:
        given = {key: work.new[key] for key in inputs if key in work.new}
        # an input that is the argument itself, or several that are its members
        body = given[inputs[0]] if inputs[0].lower() == argument.lower() else given
        work.call(f"put_{noun}", **work.api(f"put_{noun}", {"bucket": work.new["bucket"], argument: body}))
        return str(work.new["bucket"])

    def get(work: Work) -> Any:
        found = work.call(f"get_{noun}", Bucket=work.new["bucket"])
        return found[argument] if isinstance(found.get(argument), dict) else found

    return Type(
        f"aws:s3/{kind[:1].lower()}{kind[1:]}:{kind}",
        "s3",
        create=put,
        read=get,
        delete=delete or Op(f"delete_{noun}", _BUCKET),
        names=names or {},
        changes=dict.fromkeys(inputs, put),
        stays=stays,
    )


def _with(kind: Type, **tells: Step) -> Type:
    return Type(**{**vars(kind), "tells": tells})


VERSIONING = _with(
    _setting(
        "BucketVersioning",
        "bucket_versioning",
        ("versioningConfiguration",),
        "VersioningConfiguration",
        # once on, it can be suspended and never taken away
        delete=Op("put_bucket_versioning", {**_BUCKET, "VersioningConfiguration": {"Status": "Suspended"}}),
        stays=True,
    ),
    versioningConfiguration=lambda work: camel(work.found),
)

ENCRYPTION = _setting(
    "BucketServerSideEncryptionConfiguration",
    "bucket_encryption",
    ("rules",),
    "ServerSideEncryptionConfiguration",
    # what is left is encrypted by S3's own keys
    delete=Op("delete_bucket_encryption", _BUCKET),
    stays=True,
)

CLOSED = _setting(
    "BucketPublicAccessBlock",
    "public_access_block",
    ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"),
    "PublicAccessBlockConfiguration",
)

OWNERSHIP = _with(
    _setting(
        "BucketOwnershipControls",
        "bucket_ownership_controls",
        ("rule",),
        "OwnershipControls",
        names={"OwnershipControls.rule": "Rules"},
    ),
    rule=lambda work: camel(work.found["Rules"][0]),
)

LIFECYCLE = _setting(
    "BucketLifecycleConfiguration",
    "bucket_lifecycle_configuration",
    ("rules",),
    "LifecycleConfiguration",
    delete=Op("delete_bucket_lifecycle", _BUCKET),
)

POLICY = _setting("BucketPolicy", "bucket_policy", ("policy",), "Policy")

TYPES: Final = (BUCKET, VERSIONING, ENCRYPTION, CLOSED, OWNERSHIP, LIFECYCLE, POLICY)
