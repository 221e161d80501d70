"""The lake's bytes: a local folder or an S3 bucket. Nothing else in lakecat touches filesystems, keys or retries."""

from lakecat.store.base import LakeOutput, LakeStore, ProbeResult, StoredObject

__all__ = ["LakeOutput", "LakeStore", "ProbeResult", "StoredObject"]
