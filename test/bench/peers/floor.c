/*
 * The least that four processes can do to take a message and deliver it: the
 * system calls of reception, a durable queue file, scheduling and delivery to a
 * Maildir, grouped as Posthaste groups them, and nothing else. There is no
 * configuration, no check, no log and no recovery; it is no mail server, but what
 * a mail server of this shape cannot be cheaper than. See floor.sh.
 *
 * usage: floor DIRECTORY PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	MAILBOXES = 500,
	HEAD = 600,		/* bytes before the content of a queue file */
	CONTENT = 32768,
	BATCH = 64,		/* messages that cleanup takes at a time */
	CROWD = 16,		/* deliveries that share a sync */
	INTERVAL = 20000,	/* for which they wait, in microseconds */
	QUIET = 4,		/* milliseconds without another that end the wait */
	OPEN = 4096,
	PATH = 128,
};

typedef struct {
	char s[32];
} name;

/* What smtpd sends to cleanup, so much of data as there is. */
struct message {
	int client, len;
	name id, user;
	char data[HEAD + CONTENT];
};

struct client {
	int in_data, n;
	name user;
	char buf[CONTENT + 1];
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void say(int fd, const char *s)
{
	if (write(fd, s, strlen(s)) < 0 && errno != EPIPE && errno != ECONNRESET)
		die("write to client");
}

static void watch(int epoll, int fd)
{
	struct epoll_event e = { EPOLLIN, { .fd = fd } };
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e))
		die("epoll_ctl");
}

static int listen_on(int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(l, (void *)&a, sizeof a) || listen(l, 1024))
		die("listen");
	return l;
}

/* One command; 0 at the end of the session. */
static int command(int fd, struct client *c)
{
	switch (c->buf[0] | 32) {
	case 'e':
		say(fd, "250-floor\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250 CHUNKING\r\n");
		break;
	case 'm':
		say(fd, "250 2.1.0 Ok\r\n");
		break;
	case 'r': {
		size_t j = 0;
		for (char *u = strchr(c->buf, '<'); u && *++u && *u != '@' && j < sizeof c->user - 1;)
			c->user.s[j++] = *u;
		c->user.s[j] = 0;
		say(fd, "250 2.1.5 Ok\r\n");
		break;
	}
	case 'd':
		c->in_data = 1;
		say(fd, "354 End data with <CR><LF>.<CR><LF>\r\n");
		break;
	default:
		say(fd, "221 2.0.0 Bye\r\n");
		return 0;
	}
	c->n = 0;
	return 1;
}

static void hand_on(int cleanup, int fd, struct client *c)
{
	static struct message m;
	static long seq;
	m.client = fd;
	m.len = c->n - 3;
	m.user = c->user;
	snprintf(m.id.s, sizeof m.id.s, "4Xk%lx", ++seq);
	memcpy(m.data, c->buf, m.len);
	if (send(cleanup, &m, offsetof(struct message, data) + m.len, 0) < 0)
		die("send to cleanup");
	c->in_data = c->n = 0;
}

/* What a client has sent; 0 at the end of the session. */
static int heard(int cleanup, int fd, struct client *c)
{
	int n = read(fd, c->buf + c->n, CONTENT - c->n);
	if (n < 0 && errno == EAGAIN)
		return 1;
	if (n <= 0)
		return 0;
	c->n += n;
	c->buf[c->n] = 0;
	if (!c->in_data)
		return c->buf[c->n - 1] != '\n' || command(fd, c);
	if (c->n >= 5 && memcmp(c->buf + c->n - 5, "\r\n.\r\n", 5) == 0)
		hand_on(cleanup, fd, c);
	return 1;
}

_Noreturn static void smtpd(int port, int cleanup)
{
	static struct client *clients[65536];
	struct epoll_event ready[64];
	int l = listen_on(port), epoll = epoll_create1(0), one = 1, client;
	watch(epoll, l);
	watch(epoll, cleanup);
	for (;;) {
		int k = epoll_wait(epoll, ready, 64, -1);
		for (int i = 0; i < k; i++) {
			int fd = ready[i].data.fd;
			if (fd == l) {
				if ((fd = accept4(l, 0, 0, SOCK_NONBLOCK)) < 0)
					continue;
				setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
				clients[fd] = calloc(1, sizeof *clients[fd]);
				watch(epoll, fd);
				say(fd, "220 floor ESMTP\r\n");
			} else if (fd == cleanup) {
				while (recv(cleanup, &client, sizeof client, MSG_DONTWAIT) == sizeof client)
					say(client, "250 2.0.0 Ok: queued\r\n");
			} else if (!heard(cleanup, fd, clients[fd])) {
				free(clients[fd]);
				close(fd);
			}
		}
	}
}

/* Takes what is there, writes it, syncs once, answers all. */
_Noreturn static void cleanup(int smtpd, int qmgr, int root)
{
	static struct message m;
	static name ids[BATCH];
	static int clients[BATCH];
	char path[PATH];
	for (;;) {
		int k = 0, fd = -1;
		while (k < BATCH && recv(smtpd, &m, sizeof m, k ? MSG_DONTWAIT : 0) > 0) {
			if (fd >= 0)
				close(fd);
			snprintf(path, sizeof path, "incoming/%.31s", m.id.s);
			if ((fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600)) < 0)
				die(path);
			memmove(m.data + HEAD, m.data, m.len);
			memset(m.data, 'h', HEAD);
			memcpy(m.data, &m.user, sizeof m.user);
			if (write(fd, m.data, HEAD + m.len) < 0)
				die("write to queue file");
			clients[k] = m.client;
			ids[k++] = m.id;
		}
		if (k == 0)
			exit(0);
		if (k > 1 ? syncfs(root) : fsync(fd))
			die("sync of queue files");
		close(fd);
		for (int i = 0; i < k; i++)
			send(smtpd, &clients[i], sizeof clients[i], 0);
		send(qmgr, ids, k * sizeof *ids, 0);
	}
}

static void send_fd(int to, const name *id, int fd)
{
	char control[CMSG_SPACE(sizeof fd)] = { 0 };
	struct iovec io = { (void *)id, sizeof *id };
	struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(h), &fd, sizeof fd);
	if (sendmsg(to, &m, 0) < 0)
		die("send to virtual");
}

/* The number of bytes received, with a descriptor. */
static int receive_fd(int from, name *id, int flags, int *fd)
{
	char control[CMSG_SPACE(sizeof *fd)];
	struct iovec io = { id, sizeof *id };
	struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	int n = recvmsg(from, &m, flags);
	if (n > 0)
		memcpy(fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof *fd);
	return n;
}

_Noreturn static void qmgr(int cleanup, int virtual)
{
	static struct {
		name id;
		int fd;
	} active[OPEN];
	static name ids[BATCH];
	struct pollfd p[2] = { { cleanup, POLLIN, 0 }, { virtual, POLLIN, 0 } };
	char from[PATH], to[PATH], head[HEAD];
	int n_active = 0;
	for (;;) {
		poll(p, 2, -1);
		if ((p[0].revents | p[1].revents) & POLLHUP)
			exit(0);
		int n = p[0].revents ? recv(cleanup, ids, sizeof ids, 0) / (int)sizeof *ids : 0;
		for (int i = 0; i < n; i++) {
			snprintf(from, sizeof from, "incoming/%.31s", ids[i].s);
			snprintf(to, sizeof to, "active/%.31s", ids[i].s);
			int fd = open(from, O_RDONLY);
			if (fd < 0 || n_active == OPEN || pread(fd, head, sizeof head, 0) < 0 || flock(fd, LOCK_SH | LOCK_NB) || rename(from, to))
				die(from);
			send_fd(virtual, &ids[i], fd);
			active[n_active].id = ids[i];
			active[n_active++].fd = fd;
		}
		name id;
		while (p[1].revents && recv(virtual, &id, sizeof id, MSG_DONTWAIT) == sizeof id) {
			snprintf(to, sizeof to, "active/%.31s", id.s);
			unlink(to);
			for (int i = 0; i < n_active; i++) {
				if (strcmp(active[i].id.s, id.s) == 0) {
					close(active[i].fd);
					active[i] = active[--n_active];
					break;
				}
			}
		}
	}
}

static void deliver(const name *id, int queue_file)
{
	static char buf[HEAD + CONTENT];
	char tmp[PATH], final[PATH];
	struct stat st;
	int n = pread(queue_file, buf, sizeof buf, 0);
	close(queue_file);
	snprintf(tmp, sizeof tmp, "mail/%.31s/Maildir/tmp/1764400000.Q%.31s.X", buf, id->s);
	snprintf(final, sizeof final, "mail/%.31s/Maildir/new/1764400000.Q%.31s.mx", buf, id->s);
	int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0 || write(fd, buf + HEAD, n - HEAD) < 0)
		die(tmp);
	if (stat(final, &st) == 0 || renameat2(AT_FDCWD, tmp, AT_FDCWD, final, RENAME_NOREPLACE))
		die(final);
	close(fd);
}

static long microseconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

_Noreturn static void virtual(int qmgr, int root)
{
	static name ids[CROWD];
	struct pollfd p = { qmgr, POLLIN, 0 };
	long last = 0;
	for (;;) {
		int k = 0, fd;
		while (k < CROWD) {
			int n = receive_fd(qmgr, &ids[k], k ? MSG_DONTWAIT : 0, &fd);
			if (n > 0) {
				deliver(&ids[k++], fd);
				continue;
			}
			long wait = (INTERVAL - (microseconds() - last)) / 1000;
			if (n == 0 || wait <= 0 || poll(&p, 1, wait < QUIET ? wait : QUIET) <= 0)
				break;
		}
		if (k == 0)
			exit(0);
		last = microseconds();
		if (syncfs(root))
			die("sync of mailboxes");
		for (int i = 0; i < k; i++)
			send(qmgr, &ids[i], sizeof ids[i], 0);
	}
}

static void pair(int p[2])
{
	int room = 1 << 20;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p))
		die("socketpair");
	for (int i = 0; i < 2; i++)
		setsockopt(p[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
}

int main(int argc, char **argv)
{
	static const char *names[] = { "smtpd", "cleanup", "qmgr", "virtual" };
	static const char *dirs[] = { "", "/Maildir", "/Maildir/tmp", "/Maildir/new", "/Maildir/cur" };
	int a[2], b[2], c[2], root;
	char path[PATH];
	if (argc != 3 || chdir(argv[1]) || (root = open(".", O_RDONLY)) < 0)
		die("usage: floor DIRECTORY PORT");
	mkdir("incoming", 0700);
	mkdir("active", 0700);
	mkdir("mail", 0700);
	for (int i = 0; i < MAILBOXES; i++) {
		for (size_t k = 0; k < sizeof dirs / sizeof *dirs; k++) {
			snprintf(path, sizeof path, "mail/user%d%s", i, dirs[k]);
			mkdir(path, 0700);
		}
	}
	signal(SIGPIPE, SIG_IGN);
	pair(a);
	pair(b);
	pair(c);
	for (int i = 0; i < 4; i++) {
		if (fork())
			continue;
		prctl(PR_SET_NAME, names[i]);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		switch (i) {
		case 0:
			smtpd(atoi(argv[2]), a[0]);
		case 1:
			cleanup(a[1], b[0], root);
		case 2:
			qmgr(b[1], c[0]);
		case 3:
			virtual(c[1], root);
		}
	}
	while (wait(0) > 0)
		;
	return 1;
}
