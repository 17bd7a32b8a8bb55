/** The gate's addresses in every sandbox's private network: the only neighbor that a sandbox has. */
export interface GateAddresses {
  readonly v4: string;
  /** Absent where the host's kernel has IPv6 switched off. */
  readonly v6: string | undefined;
}

export const GATE_V4 = '10.0.2.1';
export const GATE_V6 = 'fd00::1';
export const ROOM_V4 = '10.0.2.15';
export const ROOM_V6 = 'fd00::15';

/** The two ends' own addresses on their link, of the range for local use; no link has any third end. */
const GATE_LINK_ADDRESS = '02:00:00:00:00:01';
const ROOM_LINK_ADDRESS = '02:00:00:00:00:15';

/** The largest that a veth carries: fewer, larger segments between the sandbox and the gate. */
const LINK_MTU_BYTES = 65_520;

/** The network namespace of the sandbox, as a path inside the holder's mount namespace. */
export const ROOM_NETWORK_NAMESPACE = '/run/netns/room';

/** The user namespace that owns the room, and the one below it in which commands run; where an airlock is to last. */
export const ROOM_USER_NAMESPACE = '/run/netns/user';
export const COMMAND_USER_NAMESPACE = '/run/netns/command';

/** The folder, inside the holder's mount namespace of an airlock that lasts, where the host keeps what commands write. */
export const EXECS_DIRECTORY = '/run/execs';

/** The folder, inside the holder's mount namespace, in which everything for the OCI runtime is laid out. */
export const STAGE_DIRECTORY = '/run/stage';

/**
 * How many user namespaces may exist below the airlock's: the container's, and the one that its command runs in.
 * A third, made by the sandboxed program, is refused by the kernel whatever system call asks for it.
 */
const MAX_CHILD_USER_NAMESPACES = 2;

/**
 * A line on standard output that says that the private `/proc`, `/run` and the stage exist.
 * The network follows; both parts are independent from here on.
 */
export const STAGE_READY = 'stage';

/** A line on standard output that says that the network is complete. */
export const NETWORK_READY = 'network';

/** What the namespaces of a room that lasts are made with. */
export interface LastingRoom {
  readonly unshare: string;
  readonly mount: string;
  /** Who commands are inside. */
  readonly uid: number;
  readonly gid: number;
}

/**
 * Makes the room with a user namespace of its own, and below that the one for commands, and keeps all three as files.
 *
 * A runtime that executes a command in a running container joins the container's user namespace before its network, and so may join only a
 * network that belongs to it. (Where a container is created, it is the other way round, so other rooms belong to the airlock.)
 */
function lastingRoomProgram({ unshare, mount, uid, gid }: LastingRoom): string {
  return `
mkdir /run/netns ${EXECS_DIRECTORY}
for name in room user command; do : > /run/netns/$name; done
mkfifo -m 600 /run/netns/made /run/netns/kept
${unshare} --user --map-root-user --net sh -c '${unshare} --user --map-user=${uid} --map-group=${gid} \
  sh -c "echo \\$\\$ > /run/netns/made; read -r _ < /run/netns/kept"; :' &
room=$!
read -r command < /run/netns/made
${mount} --bind /proc/$room/ns/net ${ROOM_NETWORK_NAMESPACE}
${mount} --bind /proc/$room/ns/user ${ROOM_USER_NAMESPACE}
${mount} --bind /proc/$command/ns/user ${COMMAND_USER_NAMESPACE}
echo > /run/netns/kept
wait $room
rm /run/netns/made /run/netns/kept
`;
}

/**
 * The shell program that turns the holder's bare namespaces into an airlock; it runs inside them as their uid 0.
 *
 * "AnyIP": the two `local` routes make every address in the world local to the airlock, so that a connection to any of
 * them arrives at a listener there. The two ends have no subnet in common, or its other addresses would be looked for as
 * neighbors for seconds instead of being refused by the gate at once. There is no interface out. Echo requests are ignored, or the airlock itself would
 * answer pings on behalf of the world. The ends make no link-local addresses: the kernel checks such an address for a second or two, and a browser
 * that is loading a page when it is done gives up, since its network has changed. Without one the gate could not ask for the room's link address
 * either (RFC 4861, 7.2.2: from an address of its own, and it answers from those of the world), once the kernel has forgotten it, as it does where
 * the sandboxes of a host have more than 128 neighbors together. So both ends know each other for good.
 */
export function networkProgram(
  tools: { readonly ip: string; readonly mount: string },
  ipv6: boolean,
  lasting?: LastingRoom,
): string {
  const onlyV6 = (...lines: readonly string[]) => (ipv6 ? `${lines.join('\n')}\n` : '');
  return `
${tools.mount} -t proc -o nosuid,nodev,noexec proc /proc
${tools.mount} -t tmpfs -o nosuid,nodev,mode=755 tmpfs /run
mkdir -p ${STAGE_DIRECTORY}
echo ${MAX_CHILD_USER_NAMESPACES} > /proc/sys/user/max_user_namespaces
echo ${STAGE_READY}
${lasting === undefined ? `${tools.ip} netns add room` : lastingRoomProgram(lasting)}
${tools.ip} -batch - <<'END'
link set lo up
link add gate address ${GATE_LINK_ADDRESS} type veth peer name eth0 address ${ROOM_LINK_ADDRESS} netns room
${onlyV6('link set gate addrgenmode none')}link set gate up mtu ${LINK_MTU_BYTES}
addr add ${GATE_V4}/32 dev gate
route add ${ROOM_V4} dev gate
neigh add ${ROOM_V4} lladdr ${ROOM_LINK_ADDRESS} dev gate nud permanent
${onlyV6(
  `addr add ${GATE_V6}/128 dev gate nodad`,
  `route add ${ROOM_V6} dev gate`,
  `neigh add ${ROOM_V6} lladdr ${ROOM_LINK_ADDRESS} dev gate nud permanent`,
)}route add local 0.0.0.0/0 dev lo table main
${onlyV6('route add local ::/0 dev lo table main')}END
${tools.ip} -n room -batch - <<'END'
link set lo up
${onlyV6('link set eth0 addrgenmode none')}link set eth0 up mtu ${LINK_MTU_BYTES}
addr add ${ROOM_V4}/32 dev eth0
route add ${GATE_V4} dev eth0
neigh add ${GATE_V4} lladdr ${GATE_LINK_ADDRESS} dev eth0 nud permanent
route add default via ${GATE_V4}
${onlyV6(
  `addr add ${ROOM_V6}/128 dev eth0 nodad`,
  `route add ${GATE_V6} dev eth0`,
  `neigh add ${GATE_V6} lladdr ${GATE_LINK_ADDRESS} dev eth0 nud permanent`,
  `route add default via ${GATE_V6}`,
)}END
echo 1 > /proc/sys/net/ipv4/icmp_echo_ignore_all
${onlyV6('echo 1 > /proc/sys/net/ipv6/icmp/echo_ignore_all')}echo ${NETWORK_READY}
`;
}
