#include "transport/packet.h"
#include <stdlib.h>

struct packet *packet_new(size_t size)
{
	struct packet *packet = malloc(sizeof(*packet) + size);

	if (!packet)
		return NULL;
	packet->len = 0;
	packet->patient = false;
	packet->size = size;
	return packet;
}

void packet_free(struct packet *packet)
{
	free(packet);
}
