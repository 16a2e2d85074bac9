/*
 * azure/http_socket.h - the loop's open sockets, to ask the kernel what moved on the connection of
 * a transfer: curl tells only of whole header lines and of what it handed to the socket's buffer,
 * which holds seconds of a slow line.
 */
#ifndef ADAFS_AZURE_HTTP_SOCKET_H
#define ADAFS_AZURE_HTTP_SOCKET_H

#include <stddef.h>
#include <stdint.h>

/* The loop's own; all zero is empty. */
struct http_sockets {
	struct http_socket {
		int fd;
		uint16_t local_port, remote_port; /* 0: not asked for yet */
	} * item;
	size_t n;
};

/* A new socket, closed on exec, or -1. */
int http_socket_open(struct http_sockets *s, int family, int type, int protocol);
void http_socket_close(struct http_sockets *s, int fd);
/* The socket of a connection with these ports, or -1. */
int http_socket_find(struct http_sockets *s, int local_port, int remote_port);
/* Bytes that the peer acknowledged and that it sent, since the connection began; 0 when unknown. */
uint64_t http_socket_moved(int fd);
void http_sockets_clear(struct http_sockets *s);

#endif
