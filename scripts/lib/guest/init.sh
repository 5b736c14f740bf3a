#!/bin/busybox sh
# First program of a guest: makes the machine's file system the guest's own, with a layer in memory on
# top of it for what is written, and hands over to agent.py. The kernel's command line has
# shunt.agent=PATH, shunt.modules=DIR, and shunt.keep=PATH:PATH... of what is shown below /tmp too.
busybox=/bin/busybox
fail() {
  echo "guest: $*"
  $busybox poweroff -f
}
mount() { $busybox mount "$@" || fail "mount $*"; }

mount -t proc proc /proc
for word in $($busybox cat /proc/cmdline); do
  case $word in
    shunt.agent=*) agent=${word#*=} ;;
    shunt.modules=*) modules=${word#*=} ;;
    shunt.keep=*) keep=${word#*=} ;;
  esac
done
for module in /modules/*; do
  $busybox insmod "$module" || fail "insmod $module"
done

# loose: nobody writes; what the machine changes meanwhile need not be seen.
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 root /lower
mount -t tmpfs -o size=75% upper /upper
$busybox mkdir /upper/upper /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/upper,workdir=/upper/work root /new
for folder in tmp run; do
  mount -t tmpfs -o mode=755 $folder /new/$folder
done
$busybox chmod 1777 /new/tmp
IFS=:
for path in $keep; do
  $busybox mkdir -p "/new$path"
  mount -o bind "/lower$path" "/new$path"
done
unset IFS
mount -t devtmpfs dev /new/dev
$busybox mkdir -p /new/dev/pts /new/dev/shm /new/lib/modules
mount -t devpts -o mode=620,ptmxmode=666 pts /new/dev/pts
mount -t tmpfs shm /new/dev/shm
mount -o bind "/lower$modules" /new/lib/modules
mount -t proc proc /new/proc
mount -t sysfs sys /new/sys
$busybox umount /proc
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec $busybox switch_root /new /usr/bin/python3 -ISB "$agent" || fail "switch_root"
