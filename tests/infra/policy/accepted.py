"""By rule, worlds that it accepts."""

from infra.policy.rule import UNKNOWN, Secret
from tests.infra.policy.worlds import (
    EVERYBODY,
    KEY_OWNER,
    OF_THE_ORGANISATION,
    TAGS,
    WORDS,
    World,
    allow,
    bucket,
    cluster,
    deployment,
    efa_beside,
    efa_world,
    floating_balancer,
    gateway,
    group,
    iam,
    ingress,
    job_set,
    listener,
    neutron,
    nodes,
    of,
    policy,
    role,
    template,
)

ACCEPTED: dict[str, list[World]] = {
    "public-buckets": [
        bucket(),
        [of("aws:s3/bucketPolicy:BucketPolicy", policy=policy({**EVERYBODY, "Effect": "Deny"}))],
        [of("aws:s3/bucketPolicy:BucketPolicy", policy=UNKNOWN)],
        [of("aws:s3/bucketPolicy:BucketPolicy", policy=policy({**EVERYBODY, "Condition": OF_THE_ORGANISATION}))],
    ],
    "bucket-guards": [bucket(), bucket(policy=UNKNOWN), []],
    "encryption": [
        [of("aws:ebs/volume:Volume", encrypted=True)],
        [template(blockDeviceMappings=[{"deviceName": "/dev/xvda", "ebs": {"encrypted": "true"}}])],
        [cluster(encryptionConfig={"resources": ["secrets"], "provider": {"keyArn": UNKNOWN}})],
        [of("aws:ecr/repository:Repository", encryptionConfigurations=[{"encryptionType": "KMS"}])],
        [of("aws:secretsmanager/secret:Secret", kmsKeyId=UNKNOWN)],
        [of("aws:kms/key:Key", enableKeyRotation=True)],
        [of("aws:rds/instance:Instance", storageEncrypted=UNKNOWN)],
    ],
    "secret-inputs": [
        [of("openstack:keymanager/secretV1:SecretV1", payload=Secret("hidden"))],
        [of("openstack:keymanager/secretV1:SecretV1", payload=UNKNOWN)],
        [of("kubernetes:core/v1:Secret", stringData={"password": Secret("hidden")})],
        [of("aws:ec2/vpnConnection:VpnConnection")],
    ],
    "open-ports": [
        [ingress(443), ingress(22, "10.0.0.0/8"), ingress(22, UNKNOWN)],
        [neutron("os-1-gateway-ike", "udp", 500, remoteIpPrefix="0.0.0.0/0")],
        [neutron("os-1-gateway-nat-t", "udp", 4500)],
        [
            neutron("members", None, None, remoteGroupId=UNKNOWN),
            neutron("vpc", None, None, remoteIpPrefix="10.0.0.0/16"),
        ],
        [cluster(vpcConfig={"endpointPublicAccess": True, "publicAccessCidrs": ["203.0.113.0/24"]})],
        [cluster(vpcConfig={"endpointPublicAccess": False})],
        [of("kubernetes:core/v1:Service", spec={"type": "LoadBalancer", "ports": [{"port": 443.0}]})],
        [of("kubernetes:core/v1:Service", spec={"type": "ClusterIP", "ports": [{"port": 80.0}]})],
        [group(ingress=[{"protocol": "-1", "self": True}])],
        [listener(443), listener(443, ["0.0.0.0/0"]), listener(30043, ["10.0.0.0/8"]), listener(30043, UNKNOWN)],
        [
            of(
                "kubernetes:core/v1:Service",
                metadata={"annotations": {"service.beta.kubernetes.io/aws-load-balancer-internal": "true"}},
                spec={"type": "LoadBalancer", "ports": [{"port": 80.0}]},
            )
        ],
    ],
    "groups-on-ports": [[of("openstack:compute/instance:Instance", networks=[{"port": UNKNOWN}])]],
    "floating-ips": [
        [of("openstack:networking/floatingIp:FloatingIp", "os-1-gateway", pool="public")],
        floating_balancer(),
    ],
    "mtu": [
        [of("pulumi:pulumi:Stack", link={"mtu": 1446.0, "pod_mtu": 1396.0})],
        [of("kubernetes:helm.sh/v3:Release", "cilium", values={"MTU": 1396.0})],
        [of("pulumi:pulumi:Stack", link=UNKNOWN)],
    ],
    "cidrs": [
        [
            of("aws:ec2/vpc:Vpc", cidrBlock="10.0.0.0/16"),
            of("openstack:networking/subnet:Subnet", cidr="10.64.0.0/20"),
            cluster(
                kubernetesNetworkConfig={"serviceIpv4Cidr": "172.20.0.0/16"},
                remoteNetworkConfig={
                    "remoteNodeNetworks": {"cidrs": ["10.64.0.0/20"]},
                    "remotePodNetworks": {"cidrs": ["10.64.64.0/18"]},
                },
            ),
        ],
    ],
    "iam-wildcards": [
        iam(allow("s3:GetObject"), allow("ecr:GetAuthorizationToken", "ec2:DescribeSubnets", on="*")),
        iam({"Effect": "Deny", "Action": "*", "Resource": "*"}),
        [of("aws:iam/rolePolicy:RolePolicy", policy=UNKNOWN)],
        [of("aws:kms/key:Key", policy=policy(KEY_OWNER))],
        [
            of(
                "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
                policyArn="arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy",
            )
        ],
    ],
    "rbac-wildcards": [
        [role(rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}])],
        [role("RoleBinding", roleRef={"name": "reader"})],
    ],
    "required-tags": [
        [of("aws:ec2/vpc:Vpc", tags=TAGS), of("openstack:networking/network:Network", tags=WORDS)],
        [of("openstack:blockstorage/volume:Volume", metadata=TAGS)],
        [of("aws:s3/bucketPolicy:BucketPolicy"), of("kubernetes:core/v1:Secret"), of("aws:ec2/vpc:Vpc", tags=UNKNOWN)],
    ],
    "launched-tags": [[template()], [template(tagSpecifications=UNKNOWN)]],
    "imdsv2": [[template()], [of("aws:ec2/instance:Instance", metadataOptions={"httpTokens": "required"})]],
    "efa": [
        efa_world(),
        efa_beside(),
        efa_beside(classic=True),
        [template()],
        [template(networkInterfaces=[{"interfaceType": "interface"}])],
    ],
    "protected": [
        [of("aws:kms/key:Key", protect=True), of("aws:ec2/vpc:Vpc")],
        [of("aws:s3/bucket:Bucket", forceDestroy=True)],
    ],
    "training-outside-mesh": [
        [job_set(**{"sidecar.istio.io/inject": "false"})],
        [deployment()],
        [
            of(
                "kubernetes:core/v1:Namespace",
                metadata={"name": "isthmus-training", "labels": {"istio-injection": "disabled"}},
            )
        ],
    ],
    "privileged-pods": [
        [deployment(volumes=[{"name": "scratch", "emptyDir": {}}])],
        [deployment("kube-system", hostNetwork=True)],
    ],
    "images-by-digest": [
        [deployment()],
        [deployment(container={"image": "localhost/trainer:1", "imagePullPolicy": "Never"})],
        [deployment(container={"image": UNKNOWN})],
        [gateway("auto")],
    ],
    "pinned-charts": [[of("kubernetes:helm.sh/v3:Release", version="v1.21.2")]],
    "budget": [nodes("g6.xlarge", 1.0), nodes("p5.48xlarge", 0.0)],
}
