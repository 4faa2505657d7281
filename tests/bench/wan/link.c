// A link between two network namespaces: one TUN device in each, and between them rate, delay and a drop-tail queue.
//
// usage: link NAMESPACE_A NAMESPACE_B RATE_BIT_S DELAY_NS QUEUE_NS COUNTERS
//
// The kernel hands over TCP in pieces of up to 64 KiB (generic segmentation offload), so a busy link costs hundreds of
// system calls a second in place of tens of thousands. What a piece is worth on the wire is reckoned as if it were cut
// into packets, each with its own headers. COUNTERS is a file of six native uint64: bytes, packets and drops from A to B,
// then from B to A.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { LONGEST = 1 << 17, SLOTS = 1 << 14, BURST = 32, TCP_OFFSET_BYTE = 12, NS_PER_S = 1000000000 };

struct counters {
    volatile uint64_t bytes, packets, drops;
};

struct piece {
    int64_t due_ns;
    size_t size;
    char *bytes;
};

struct direction {
    int source, sink;
    int64_t free_ns;  // when the last bit that was let in leaves the queue
    unsigned head, tail;
    struct piece queue[SLOTS];
    struct counters *counted;
};

static volatile sig_atomic_t is_stopped;
static struct direction directions[2];

static void stop(int signal_number) {
    (void)signal_number;
    is_stopped = 1;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * NS_PER_S + time.tv_nsec;
}

static int open_device(const char *name_space) {
    char path[256];
    snprintf(path, sizeof path, "/run/netns/%s", name_space);
    int space = open(path, O_RDONLY | O_CLOEXEC);
    if (space < 0 || setns(space, CLONE_NEWNET)) fail(path);
    close(space);
    int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (device < 0) fail("/dev/net/tun");
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
    strcpy(request.ifr_name, "wan0");
    if (ioctl(device, TUNSETIFF, &request)) fail("TUNSETIFF");
    if (ioctl(device, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4)) fail("TUNSETOFFLOAD");
    return device;
}

// Size in bytes, and number in *packets, of the IP packets that a piece stands for.
static uint64_t wire_bytes(const char *bytes, size_t size, uint64_t *packets) {
    const struct virtio_net_hdr *header = (const void *)bytes;
    const unsigned char *packet = (const void *)(bytes + sizeof *header);
    uint64_t length = size - sizeof *header;
    *packets = 1;
    if (header->gso_type == VIRTIO_NET_HDR_GSO_NONE || header->gso_size == 0) return length;
    uint64_t headers = header->csum_start + (packet[header->csum_start + TCP_OFFSET_BYTE] >> 4) * 4u;
    *packets = (length - headers + header->gso_size - 1) / header->gso_size;
    return length + (*packets - 1) * headers;
}

static void let_in(struct direction *way, const char *bytes, size_t size, double rate, int64_t delay, int64_t queue) {
    int64_t now = now_ns(), start = way->free_ns > now ? way->free_ns : now;
    uint64_t packets, wire = wire_bytes(bytes, size, &packets);
    if (start - now > queue || way->tail - way->head == SLOTS) {
        way->counted->drops += packets;
        return;
    }
    struct piece *piece = &way->queue[way->tail % SLOTS];
    piece->bytes = malloc(size);
    if (piece->bytes == NULL) fail("malloc");
    memcpy(piece->bytes, bytes, size);
    piece->size = size;
    way->free_ns = start + (int64_t)((double)wire * 8 * NS_PER_S / rate);
    piece->due_ns = way->free_ns + delay;
    way->tail++;
    way->counted->bytes += wire;
    way->counted->packets += packets;
}

// Hands over what is due; when the next piece will be, or INT64_MAX.
static int64_t hand_over(struct direction *way) {
    int64_t now = now_ns();
    while (way->head != way->tail && way->queue[way->head % SLOTS].due_ns <= now) {
        struct piece *piece = &way->queue[way->head++ % SLOTS];
        // a full receiver drops, as a router's next hop would
        if (write(way->sink, piece->bytes, piece->size) < 0) way->counted->drops++;
        free(piece->bytes);
    }
    return way->head == way->tail ? INT64_MAX : way->queue[way->head % SLOTS].due_ns;
}

int main(int count, char **arguments) {
    if (count != 7) {
        fprintf(stderr, "usage: link NAMESPACE_A NAMESPACE_B RATE_BIT_S DELAY_NS QUEUE_NS COUNTERS\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    prctl(PR_SET_TIMERSLACK, 1);
    setpriority(PRIO_PROCESS, 0, -20);  // a link does not wait for the trainers' cores
    signal(SIGTERM, stop);
    signal(SIGINT, SIG_IGN);
    int file = open(arguments[6], O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0 || ftruncate(file, 2 * sizeof(struct counters))) fail(arguments[6]);
    struct counters *counters = mmap(NULL, 2 * sizeof *counters, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (counters == MAP_FAILED) fail("mmap");
    double rate = atof(arguments[3]);
    int64_t delay = atoll(arguments[4]), queue = atoll(arguments[5]);
    int devices[2] = {open_device(arguments[1]), open_device(arguments[2])};
    for (int i = 0; i < 2; i++) {
        directions[i].source = devices[i];
        directions[i].sink = devices[1 - i];
        directions[i].counted = &counters[i];
    }
    static char buffer[LONGEST];
    puts("ready");
    fflush(stdout);
    while (!is_stopped) {
        int64_t next = INT64_MAX;
        for (int i = 0; i < 2; i++) {
            int64_t due = hand_over(&directions[i]);
            if (due < next) next = due;
        }
        struct pollfd polled[2] = {{devices[0], POLLIN, 0}, {devices[1], POLLIN, 0}};
        int64_t left = next == INT64_MAX ? NS_PER_S : next - now_ns();
        if (left < 0) left = 0;
        struct timespec wait = {left / NS_PER_S, left % NS_PER_S};
        if (ppoll(polled, 2, &wait, NULL) <= 0) continue;
        for (int i = 0; i < 2; i++) {
            for (int burst = 0; burst < BURST; burst++) {  // then look at what is due
                ssize_t size = read(devices[i], buffer, sizeof buffer);
                if (size <= (ssize_t)sizeof(struct virtio_net_hdr)) break;
                let_in(&directions[i], buffer, (size_t)size, rate, delay, queue);
            }
        }
    }
    return 0;
}
