/*
 * azure/http_socket.c - a list of open sockets, and what the kernel says of their bytes. Loop
 * thread only.
 */
#include "batch/azure/http_socket.h"

#include <arpa/inet.h>
#include <linux/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int http_socket_open(struct http_sockets *s, int family, int type, int protocol)
{
	struct http_socket *item = realloc(s->item, (s->n + 1) * sizeof(*item));
	if (!item)
		return -1;
	s->item = item;
	int fd = socket(family, type | SOCK_CLOEXEC, protocol);
	if (fd >= 0)
		s->item[s->n++] = (struct http_socket){ .fd = fd };
	return fd;
}

void http_socket_close(struct http_sockets *s, int fd)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->item[i].fd == fd) {
			s->item[i] = s->item[--s->n];
			break;
		}
	}
	close(fd);
}

/* The port of an address; it is at the same place for IPv4 and IPv6. */
static uint16_t port_of(int fd, int (*get)(int, struct sockaddr *, socklen_t *))
{
	struct sockaddr_storage a = { 0 };
	socklen_t len = sizeof(a);
	if (get(fd, (struct sockaddr *)&a, &len) < 0)
		return 0;
	return ntohs(((struct sockaddr_in *)&a)->sin_port);
}

int http_socket_find(struct http_sockets *s, int local_port, int remote_port)
{
	for (size_t i = 0; i < s->n; i++) {
		struct http_socket *item = &s->item[i];
		if (!item->remote_port) { /* not connected when last asked */
			item->local_port = port_of(item->fd, getsockname);
			item->remote_port = port_of(item->fd, getpeername);
		}
		if (item->local_port == local_port && item->remote_port == remote_port)
			return item->fd;
	}
	return -1;
}

uint64_t http_socket_moved(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return 0;
	return info.tcpi_bytes_acked + info.tcpi_bytes_received;
}

void http_sockets_clear(struct http_sockets *s)
{
	free(s->item);
	*s = (struct http_sockets){ 0 };
}
