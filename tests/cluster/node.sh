# Sourced by `up --node` and `down`: a real node (kubelet, containerd, runc) in a network namespace of its own. A pair of
# interfaces connects it with the control plane: .1 is the control plane's address, .2 the node's, of one /30 network out
# of 198.18.0.0/15, which is reserved for tests (RFC 2544). Uses `run`, `dir`, `here`, `bin`, `start`, `fail`, `pause`,
# `lives`, `certificate`, `kubeconfig` and `kubectl` of `up`.

# Installs what the node needs, or says what is missing.
node_needs() {
	local program missing="" packages="containerd runc containernetworking-plugins busybox-static iproute2 procps"
	for program in containerd ctr runc /usr/lib/cni/bridge busybox ip nsenter pgrep; do
		command -v "$program" >/dev/null || missing+=" $program"
	done
	if [ "$(id -u)" != 0 ]; then
		echo "a real node needs root" >&2
		exit 1
	fi
	[ -n "$missing" ] || return 0
	if ! command -v apt-get >/dev/null; then
		echo "a real node needs$missing (on Debian: apt-get install $packages)" >&2
		exit 1
	fi
	local install="apt-get install -y --no-install-recommends $packages"
	{ $install || { apt-get update && $install; }; } >&2
}

# Makes the network namespace; sets `address` to the control plane's address.
node_network() {
	local number network
	while true; do
		number=$((RANDOM * 2 % 32768))
		network=198.$((18 + number / 16384)).$((number / 64 % 256)).$((number * 4 % 256))
		ip netns add "gybe-$number" 2>/dev/null && break
	done
	echo "gybe-$number" >"$run/netns"
	address=${network%.*}.$((${network##*.} + 1))
	node_address=${network%.*}.$((${network##*.} + 2))
	ip link add "gybe-$number" type veth peer name eth0 netns "gybe-$number"
	ip addr add "$address/30" dev "gybe-$number"
	ip link set "gybe-$number" up
	ip -n "gybe-$number" link set lo up
	ip -n "gybe-$number" addr add "$node_address/30" dev eth0
	ip -n "gybe-$number" link set eth0 up
}

# Starts NAME of FILE in the network namespace. (`ip netns exec` would hide the cgroup mounts.)
node_start() { # NAME FILE ARGUMENT...
	start_program "$1" nsenter "--net=/run/netns/$(<"$run/netns")" "${@:2}"
}

# The one image: busybox, as `gybe.test/busybox:1` and, for the sandboxes of pods, as `gybe.test/pause:1`.
node_image() { # FILE
	python3 - "$1" "$(command -v busybox)" <<-'END'
		import hashlib, io, json, subprocess, sys, tarfile

		def archive(files):
		    out = io.BytesIO()
		    with tarfile.open(fileobj=out, mode="w") as tar:
		        for name, content in files:
		            info = tarfile.TarInfo(name)
		            if content is None:
		                info.type, info.mode = tarfile.DIRTYPE, 0o755
		            elif isinstance(content, str):
		                info.type, info.linkname = tarfile.SYMTYPE, content
		            else:
		                info.size, info.mode = len(content), 0o755
		            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
		    return out.getvalue()

		busybox = open(sys.argv[2], "rb").read()
		applets = subprocess.run([sys.argv[2], "--list"], capture_output=True, text=True, check=True).stdout.split()
		layer = archive([("bin", None), ("tmp", None), ("bin/busybox", busybox)]
		                + [(f"bin/{name}", "busybox") for name in applets if name != "busybox"])
		config = json.dumps({
		    "architecture": "amd64", "os": "linux",
		    "config": {"Cmd": ["/bin/sleep", "2147483647"], "Env": ["PATH=/bin"]},
		    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
		}).encode()
		manifest = json.dumps([{
		    "Config": "config.json", "Layers": ["layer.tar"], "RepoTags": ["gybe.test/busybox:1", "gybe.test/pause:1"],
		}]).encode()
		open(sys.argv[1], "wb").write(archive([("config.json", config), ("layer.tar", layer), ("manifest.json", manifest)]))
	END
}

node_containerd() {
	local containerd=$run/containerd
	mkdir -p "$containerd" "$run/cni" "$run/kubelet"
	cat >"$run/cni/10-bridge.conflist" <<-END
		{"cniVersion": "0.4.0", "name": "pods", "plugins": [{
		  "type": "bridge", "bridge": "cni0", "isGateway": true,
		  "ipam": {"type": "host-local", "dataDir": "$run/cni/addresses", "ranges": [[{"subnet": "10.88.0.0/24"}]]}
		}]}
	END
	# Without restrict_oom_score_adj, runc fails on machines that forbid lowering it.
	cat >"$containerd/config.toml" <<-END
		version = 2
		root = "$containerd/root"
		state = "$containerd/state"
		[grpc]
		address = "$containerd/socket"
		[plugins."io.containerd.internal.v1.opt"]
		path = "$containerd/opt"
		[plugins."io.containerd.grpc.v1.cri"]
		sandbox_image = "gybe.test/pause:1"
		restrict_oom_score_adj = true
		netns_mounts_under_state_dir = true
		[plugins."io.containerd.grpc.v1.cri".containerd]
		snapshotter = "native"
		[plugins."io.containerd.grpc.v1.cri".cni]
		bin_dir = "/usr/lib/cni"
		conf_dir = "$run/cni"
	END
	node_start containerd containerd --config "$containerd/config.toml"
	until [ -S "$containerd/socket" ] && ctr --address "$containerd/socket" version >/dev/null 2>&1; do
		lives containerd
		pause containerd
	done
	node_image "$containerd/image.tar"
	ctr --address "$containerd/socket" --namespace k8s.io images import --no-unpack "$containerd/image.tar" >/dev/null
	rm "$containerd/image.tar"
}

node_kubelet() {
	certificate kubelet "/O=system:nodes/CN=system:node:node-1" extendedKeyUsage=clientAuth
	kubeconfig kubelet "$run/kubelet.kubeconfig"
	cat >"$run/kubelet.yaml" <<-END
		kind: KubeletConfiguration
		apiVersion: kubelet.config.k8s.io/v1beta1
		address: $node_address
		authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: $run/pki/ca.crt}}
		authorization: {mode: AlwaysAllow}
		containerRuntimeEndpoint: unix://$run/containerd/socket
		podLogsDir: $run/kubelet-logs
		resolvConf: ""
		# This node shares the machine with others: it neither manages the machine's cgroups nor evicts anything.
		cgroupDriver: cgroupfs
		failCgroupV1: false
		cgroupsPerQOS: false
		enforceNodeAllocatable: []
		failSwapOn: false
		localStorageCapacityIsolation: false
		evictionHard: {memory.available: 1Mi, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%}
		imageGCHighThresholdPercent: 100
	END
	node_start kubelet "$bin/kubelet" --config "$run/kubelet.yaml" --kubeconfig "$run/kubelet.kubeconfig" \
		--root-dir "$run/kubelet" --cert-dir "$run/kubelet/pki" --hostname-override node-1 --node-ip "$node_address"
}

# Ends containers, mounts and the network namespace. The programs have been killed.
node_down() {
	local shim task id try
	# A shim adopts what its containers leave: their processes are all among its descendants.
	for shim in $(pgrep -f -- "-address $run/containerd/socket" || true); do kill_tree "$shim"; done
	for task in "$run"/containerd/state/io.containerd.runtime.v2.task/k8s.io/*; do
		[ -e "$task/address" ] || continue
		id=${task##*/}
		# The kernel frees a cgroup a moment after the last process.
		for try in $(seq 100); do
			! find /sys/fs/cgroup -depth -type d -path "*/k8s.io/$id*" -exec rmdir {} + 2>/dev/null || break
			sleep 0.02
		done
		rm -rf "/run/containerd/runc/k8s.io/$id" "$(sed 's#^unix://##' "$task/address")"
	done
	awk -v run="$run/" 'index($2, run) == 1 { print $2 }' /proc/self/mounts | sort -r | while read -r mount; do
		umount -l "$mount" 2>/dev/null || true
	done
	find /var/log/containers -lname "$run/*" -delete 2>/dev/null || true
	ip netns del "$(<"$run/netns")" 2>/dev/null || true
}

# Kills a process and all its descendants. It is stopped first, so that it adopts and starts no more.
kill_tree() { # PID
	local child
	kill -STOP "$1" 2>/dev/null || true
	for child in $(pgrep -P "$1" || true); do kill_tree "$child"; done
	kill -KILL "$1" 2>/dev/null || true
}
