#!/usr/bin/env bash
# tooz: a group named nova/compute puts members that do not exist into the group nova, with ZooKeeper and etcd.
#
# Versions: tooz 9.1.0 with etcd3gw 2.7.0, kazoo 2.11.0, redis 8.1.0; Debian 12: etcd 3.4.23, Redis 7.0.15,
#           ZooKeeper 3.8.0.
# Guess:    a group's name is bytes of one's own choice; a driver that puts it into a path escapes a slash, or refuses it.
# Seen:     it is accepted, and joined, everywhere. With Redis the two groups are two. With
#           ZooKeeper the outer group gains a member "compute", and the inner one is in no list of groups; with
#           etcd it gains "compute/" and "compute/b", and the list of groups holds names that nobody created.
#           Watchers tell of these members as joined.
#
#               redis: members of nova ['a']; groups ['nova', 'nova/compute']; joined []
#               zookeeper: members of nova ['a', 'compute']; groups ['nova']; joined ['compute']
#               etcd3gw: members of nova ['a', 'compute/', 'compute/b']; groups ['nova', 'nova/', 'nova/compute',
#               'nova/compute/']; joined ['compute/', 'compute/b']
#
# Follows:  work that is shared out among the members of nova goes in part to nobody, and no session ends that
#           would take "compute" or "compute/" away again. Name groups without slashes, whatever driver is tested with.
. "$(dirname "$0")/setup.sh"

start_redis
start_etcd
start_zookeeper
packages tooz==9.1.0 etcd3gw==2.7.0 kazoo==2.11.0 redis==8.1.0

cat >"$work/look.py" <<'PY'
import sys
import time

from tooz import ToozError, coordination

seen = {}
for name, url in (argument.split("=", 1) for argument in sys.argv[1:]):
    for _ in range(150):  # until the server answers
        try:
            a, b = (coordination.get_coordinator(url, member) for member in (b"a", b"b"))
            for one in (a, b):
                one.start()
            break
        except ToozError:
            time.sleep(0.2)
    joined = []
    a.join_group_create(b"nova")
    b.watch_join_group(b"nova", lambda event: joined.append(event.member_id.decode()))
    b.join_group_create(b"nova/compute")
    b.run_watchers()
    members = sorted(member.decode() for member in b.get_members(b"nova").get())
    groups = sorted({group.decode() for group in b.get_groups().get()})
    print(f"{name}: members of nova {members}; groups {groups}; joined {sorted(joined)}", flush=True)
    seen[name] = (members, groups, sorted(joined))
inner = ["compute/", "compute/b"]
stated = {
    "redis": (["a"], ["nova", "nova/compute"], []),
    "zookeeper": (["a", "compute"], ["nova"], ["compute"]),
    "etcd3gw": (["a", *inner], ["nova", "nova/", "nova/compute", "nova/compute/"], inner),
}
sys.exit(0 if seen == stated else 3)
PY
code=0
timeout 120 "$python" -W ignore "$work/look.py" "redis=redis://127.0.0.1:$redis" \
    "zookeeper=kazoo://127.0.0.1:$zookeeper" "etcd3gw=etcd3+http://127.0.0.1:$etcd" 2>"$work/errors" || code=$?
case $code in
0) say "SEEN: a slash in a group's name makes members of another group, with ZooKeeper and etcd" ;;
3) say "CHANGED: see the lines above"; exit 1 ;;
*) tail -n 3 "$work/errors"; nothing_learned "the servers could not be asked" ;;
esac
