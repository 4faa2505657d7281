"""Which resources hold what cannot be made again: asked by the policy pack and by reviews."""

from collections.abc import Mapping
from typing import Final

PRECIOUS: Final[Mapping[str, str]] = {
    "aws:dynamodb/table:Table": "a table with its items",
    "aws:ebs/volume:Volume": "a volume with its data",
    "aws:ecr/repository:Repository": "an image repository with its images",
    "aws:efs/fileSystem:FileSystem": "a file system with its files",
    "aws:eks/cluster:Cluster": "the cluster with every object in it",
    "aws:kms/key:Key": "a key without which nothing encrypted by it can be read",
    "aws:kms/replicaKey:ReplicaKey": "a key without which the replicated artefacts cannot be read",
    "aws:rds/instance:Instance": "a database with its rows",
    "aws:s3/bucket:Bucket": "a bucket with its objects",
    "aws:secretsmanager/secret:Secret": "a secret with its versions",
    "isthmus:keys:CertificateAuthority": "the key that every site's certificate hangs on",
    "isthmus:keys:SigningKey": "the key that models are signed with",
    "openstack:objectstorage/container:Container": "a container with its objects",
}
"""Protected from deletion where a stack says so: type to what is lost.

OpenStack's volumes and Barbican's secrets are not among them: nodes keep scratch there, and what the stack draws anew.
"""

HOLDS_STATE: Final[Mapping[str, str]] = {
    **PRECIOUS,
    "aws:cloudwatch/logGroup:LogGroup": "logs",
    "aws:ec2/instance:Instance": "a server with its disk",
    "aws:secretsmanager/secretVersion:SecretVersion": "a secret's value",
    "isthmus:keys:DrawnSecret": "a password that something may have been set up with",
    "isthmus:local:ModelRegistry": "the registry with its models",
    "isthmus:local:Site": "a site's folder",
    "isthmus:local:SiteAuthority": "the key that every site's certificate hangs on",
    "isthmus:local:TrainingRun": "a run with its checkpoints",
    "kubernetes:apps/v1:StatefulSet": "pods whose volumes stay bound to them",
    "kubernetes:core/v1:Namespace": "a namespace with every object in it",
    "kubernetes:core/v1:PersistentVolumeClaim": "a volume with its data",
    "kubernetes:jobset.x-k8s.io/v1alpha2:JobSet": "a run that is under way",
    "openstack:blockstorage/volume:Volume": "a volume with its data",
    "openstack:compute/instance:Instance": "a server with its disk",
    "openstack:identity/ec2CredentialV3:Ec2CredentialV3": "the keys of a site's object store",
    "openstack:keymanager/secretV1:SecretV1": "a secret",
}
"""What a reviewer must see first when it is replaced or deleted."""
