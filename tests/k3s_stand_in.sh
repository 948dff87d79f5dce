#!/bin/sh
# Not k3s: a program with the part of its interface that homeport_clusters uses, as k3s' documentation has it. Started as
# `k3s server` it runs a real etcd and kube-apiserver, takes the token, writes the kubeconfig and registers its node as Ready;
# with --server, and as `k3s agent`, it registers its node at that server by the token. No kubelet, no containerd, no network:
# what it can't show is in docs/k3s-on-proxmox.md.
set -eu
state=/var/lib/k3s-stand-in
if [ "${1:-}" = kubectl ]; then
  shift
  exec /opt/bin/kubectl --kubeconfig /etc/rancher/k3s/k3s.yaml --server "$(cat $state/url)" "$@"
fi
role=$1
shift
join='' names='' sans=''
for one; do
  value=${one#*=}
  case $one in
    --node-name=*) name=$value;;
    --node-ip=*) ip=$value;;
    --token-file=*) token=$(cat "$value");;
    --server=*) join=$value;;
    --tls-san=*) case $value in *[!0-9.]*) sans="$sans,DNS:$value";; *) sans="$sans,IP:$value";; esac;;
  esac
done
mkdir -p $state
cd $state

register() { # URL, more flags
  url=$1; shift
  until /opt/bin/kubectl --server "$url" --token "$token" "$@" get --raw=/readyz >/dev/null 2>said; do
    if grep -qi unauthorized said; then echo "level=fatal msg=\"not authorized\"" >&2; exit 1; fi
    sleep 0.3
  done
  ready='{"type":"Ready","status":"True","reason":"KubeletReady","lastHeartbeatTime":null,"lastTransitionTime":null}'
  printf '{"apiVersion":"v1","kind":"Node","metadata":{"name":"%s","labels":{"role":"%s"}},"status":{"conditions":[%s],
    "addresses":[{"type":"InternalIP","address":"%s"}]}}' "$name" "$role" "$ready" "$ip" >node.json
  /opt/bin/kubectl --server "$url" --token "$token" "$@" create --validate=false -f node.json 2>said \
    || grep -q AlreadyExists said
}

kubeconfig() { # file with the CA
  mkdir -p /etc/rancher/k3s
  umask 077
  cat >/etc/rancher/k3s/k3s.yaml <<EOF
apiVersion: v1
kind: Config
clusters: [{name: default, cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: $(base64 -w0 <"$1")}}]
users: [{name: default, user: {token: "$token"}}]
contexts: [{name: default, context: {cluster: default, user: default}}]
current-context: default
EOF
}

if [ -n "$join" ]; then
  echo "$join" >url
  register "$join" --insecure-skip-tls-verify
  if [ "$role" = server ]; then
    host=${join#https://}
    openssl s_client -connect "$host" </dev/null 2>/dev/null | openssl x509 >ca.crt
    kubeconfig ca.crt
  fi
  exec sleep infinity
fi
[ -e tls.key ] || openssl req -x509 -newkey rsa:2048 -nodes -keyout tls.key -out tls.crt -days 30 -subj /CN=k3s \
  -addext "subjectAltName=IP:$ip$sans" 2>/dev/null
[ -e sa.key ] || openssl genrsa -out sa.key 2048 2>/dev/null
umask 077
echo "$token,admin,admin,system:masters" >tokens.csv
/opt/bin/etcd --data-dir data --listen-client-urls "http://$ip:2379" --advertise-client-urls "http://$ip:2379" \
  --listen-peer-urls "http://$ip:2380" --initial-advertise-peer-urls "http://$ip:2380" \
  --initial-cluster "default=http://$ip:2380" --unsafe-no-fsync --log-level=warn &
/opt/bin/kube-apiserver --etcd-servers="http://$ip:2379" --bind-address="$ip" --advertise-address="$ip" \
  --endpoint-reconciler-type=none --secure-port=6443 --tls-cert-file=tls.crt --tls-private-key-file=tls.key \
  --token-auth-file=tokens.csv --authorization-mode=Node,RBAC --service-account-issuer=https://kubernetes.default.svc \
  --service-account-key-file=sa.key --service-account-signing-key-file=sa.key \
  --service-cluster-ip-range=10.43.0.0/16 --cert-dir=certs &
echo "https://$ip:6443" >url
kubeconfig tls.crt
register "https://$ip:6443" --certificate-authority=tls.crt
wait
