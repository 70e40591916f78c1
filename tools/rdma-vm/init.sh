#!/bin/sh
# The first process of the guest: loads the modules, puts the host's file system under an overlay in memory, makes the
# RDMA devices with network.sh, runs the job and tells the host its exit status over the port `control`.
#
# Runs in the initramfs with busybox alone. The kernel command line says where on the host the rest is:
# diaspora.scripts=FOLDER (network.sh), diaspora.job=FILE (a shell script), diaspora.role=one|a|b.
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
$B mount -t devtmpfs dev /dev
fail() {
  echo "rdma-vm: $*"
  $B poweroff -f
}
for word in $($B cat /proc/cmdline); do
  case $word in
    diaspora.scripts=*) scripts=${word#*=} ;;
    diaspora.job=*) job=${word#*=} ;;
    diaspora.role=*) role=${word#*=} ;;
  esac
done
while read -r module; do
  $B insmod "/modules/$module" || fail "insmod $module"
done </modules/order

# The virtio ports have the names that QEMU was given.
for port in /sys/class/virtio-ports/*; do
  read -r name <"$port/name" || continue
  case $name in
    control) control=/system/dev/${port##*/} ;;
    output) output=/system/dev/${port##*/} ;;
  esac
done

$B mkdir -p /host /memory /system
$B mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose root /host || fail 'no host file system'
$B mount -t tmpfs -o size=80% memory /memory
$B mkdir /memory/upper /memory/work
$B mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work overlay /system || fail 'no overlay'
for folder in proc sys dev; do $B mount --move /$folder /system/$folder; done
$B mkdir -p /system/dev/shm /system/dev/pts
$B mount -t tmpfs -o mode=1777 shm /system/dev/shm
$B mount -t devpts devpts /system/dev/pts
$B mount -t tmpfs -o mode=755 run /system/run
$B ln -sf /proc/self/fd /system/dev/fd
$B chmod 1777 /system/tmp

# From here on with the host's own programs.
$B chroot /system /bin/bash "$scripts/network.sh" "$role" || fail 'no RDMA device'
$B chmod 666 /system/dev/infiniband/*
exec 3>"$control"
echo ready >&3
$B chroot /system /bin/bash "$job" </system/dev/null >"$output" 2>&1 3>&-
echo "exit $?" >&3
$B poweroff -f
