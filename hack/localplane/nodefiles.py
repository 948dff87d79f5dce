"""What a real node is made of: its packages, its programs' configuration, their command lines."""

from __future__ import annotations

import json
from typing import Any

from localplane.debian import Layer
from localplane.images import Image

NODE = "homeport-node"
# Addresses of the node's own network namespace; nothing outside it has a route there.
ADDRESS = "10.250.0.1"
PODS = "10.245.0.0/16"
DOMAIN = "cluster.local"
VOLUMES = "/var/lib/volumes"
PROVISIONER = "homeport.dev/directory"
PAUSE = "homeport.local/pause:1"
SOCKET = "/run/containerd/containerd.sock"

PACKAGES = Layer(
    packages=(
        "base-files", "containerd", "containernetworking-plugins", "coreutils", "crun", "dash", "iproute2", "mount",
        "nftables", "procps", "util-linux",
    ),
    without=("runc", "iptables"),  # crun takes runc's part, nftables that of iptables
)  # fmt: skip
PAUSE_IMAGE = Image((PAUSE,), Layer(("catatonit",)), entrypoint=("/usr/bin/catatonit", "-P"), user="65534")

# The kubelet writes these where they differ, and they aren't the node's alone but the machine's: it is shown files
# that say what it wants to read.
# https://github.com/kubernetes/kubernetes/blob/v1.35.4/staging/src/k8s.io/component-helpers/node/util/sysctl/sysctl.go
KERNEL = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


# In the order in which they start.
PROGRAMS: dict[str, tuple[str, ...]] = {
    "containerd": ("/usr/bin/containerd", "--config=/etc/containerd/config.toml"),
    "coredns": ("/opt/bin/coredns", "-conf=/etc/coredns/Corefile"),
    "kube-proxy": ("/opt/bin/kube-proxy", "--config=/etc/kubernetes/kube-proxy.json", f"--hostname-override={NODE}"),
    "kubelet": (
        "/opt/bin/kubelet",
        "--config=/etc/kubernetes/kubelet.json",
        "--kubeconfig=/etc/kubernetes/kubelet.conf",
        f"--hostname-override={NODE}",
        f"--node-ip={ADDRESS}",
        "--node-labels=homeport.dev/node=real,topology.kubernetes.io/zone=zone-a",
    ),
}


def files(cgroup: str) -> dict[str, str]:
    """Configuration files by their path under /etc."""
    return {
        "resolv.conf": f"nameserver {ADDRESS}\n",
        "hosts": f"127.0.0.1 localhost\n{ADDRESS} {NODE}\n",
        "hostname": f"{NODE}\n",
        "passwd": "root:x:0:0:root:/root:/bin/sh\n",
        "group": "root:x:0:\n",
        "containerd/config.toml": CONTAINERD,
        "cni/net.d/10-homeport.conflist": json.dumps(NETWORK, indent=1),
        "coredns/Corefile": COREFILE,
        "kubernetes/kubelet.json": json.dumps(_kubelet(cgroup), indent=1),
        "kubernetes/kube-proxy.json": json.dumps(PROXY, indent=1),
    }


CONTAINERD = f"""\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "crun"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun.options]
        BinaryName = "/usr/bin/crun"
        SystemdCgroup = false
"""

# ptp gives each Pod a link of its own, so that what goes from Pod to Pod passes the node's rules without br_netfilter.
# There is no address translation to the outside: there is no outside.
NETWORK: dict[str, Any] = {
    "cniVersion": "1.0.0",
    "name": "homeport",
    "plugins": [
        {
            "type": "ptp",
            "ipMasq": False,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
    ],
}

COREFILE = f"""\
. {{
    bind {ADDRESS}
    errors
    ready {ADDRESS}:8181
    kubernetes {DOMAIN} in-addr.arpa {{
        kubeconfig /etc/kubernetes/coredns.conf
    }}
    cache 2
}}
"""

PROXY: dict[str, Any] = {
    "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
    "kind": "KubeProxyConfiguration",
    "mode": "nftables",
    "clientConnection": {"kubeconfig": "/etc/kubernetes/kube-proxy.conf"},
    "clusterCIDR": PODS,
    "bindAddress": "0.0.0.0",  # nosec B104 - in a network of its own
    "nftables": {"minSyncPeriod": "0s"},
    # Limits of the machine's connection table are the machine's.
    "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
}


def _kubelet(cgroup: str) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": "/etc/kubernetes/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "protectKernelDefaults": True,
        "makeIPTablesUtilChains": False,
        "localStorageCapacityIsolation": False,
        "evictionHard": {"nodefs.available": "0%", "imagefs.available": "0%", "memory.available": "50Mi"},
        "imageGCHighThresholdPercent": 100,
        "clusterDNS": [ADDRESS],
        "clusterDomain": DOMAIN,
        "resolvConf": "/etc/resolv.conf",
        "serializeImagePulls": False,
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
    }


STORAGE_CLASS: dict[str, Any] = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": PROVISIONER,
    "reclaimPolicy": "Delete",
    # As k3s, kind and minikube do it: no volume before there is a Pod that wants it.
    "volumeBindingMode": "WaitForFirstConsumer",
    "allowVolumeExpansion": False,
}
