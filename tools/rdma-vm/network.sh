# Makes the guest's interfaces and its Soft-RoCE devices. $1: the role.
#   one   rxe0 on 10.77.0.1 and rxe1 on 10.77.0.2, the two ends of a veth cable that packets really cross
#   a, b  one of two guests on a cable of QEMU's: rxe0 on 10.77.0.1 (a) or 10.77.0.2 (b)
set -euo pipefail
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad # nobody contests our addresses

if [[ $1 != one ]]; then
  [[ $1 == a ]] && own=10.77.0.1 other=10.77.0.2 || own=10.77.0.2 other=10.77.0.1
  ip -batch - <<END
link set lo up
link set eth0 up
addr add $own/24 dev eth0
END
  rdma link add rxe0 type rxe netdev eth0
  # a waits for b, which has the server
  [[ $1 == b ]] || until busybox ping -c 1 -W 1 "$other" >/dev/null 2>&1; do sleep 0.1; done
  exit
fi

# rxe of Linux 6.1 receives in the first network name space only, so both ends are in one. Rules send what goes from one
# end to the other over the cable; it would else take the short way over lo and rxe's own loopback.
a=02:77:00:00:00:01 b=02:77:00:00:00:02
ip -batch - <<END
link set lo up
link add cable-a address $a mtu 9000 type veth peer name cable-b address $b mtu 9000
END
for end in all cable-a cable-b; do
  for setting in accept_local=1 rp_filter=0 arp_ignore=1; do
    echo "${setting#*=}" >"/proc/sys/net/ipv4/conf/$end/${setting%=*}"
  done
done
ip -batch - <<END
link set cable-a up
link set cable-b up
addr add 10.77.0.1/24 dev cable-a
addr add 10.77.0.2/24 dev cable-b
neigh replace 10.77.0.2 lladdr $b dev cable-a nud permanent
neigh replace 10.77.0.1 lladdr $a dev cable-b nud permanent
route add 10.77.0.2 dev cable-a src 10.77.0.1 table 101
route add 10.77.0.1 dev cable-b src 10.77.0.2 table 102
rule add pref 10 iif lo from 10.77.0.1 to 10.77.0.1 lookup local
rule add pref 10 iif lo from 10.77.0.2 to 10.77.0.2 lookup local
rule add pref 20 iif lo to 10.77.0.2 lookup 101
rule add pref 20 iif lo to 10.77.0.1 lookup 102
rule add pref 30 lookup local
rule del pref 0
END
rdma link add rxe0 type rxe netdev cable-a
rdma link add rxe1 type rxe netdev cable-b
