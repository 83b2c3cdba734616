/*
 * Which of a client's queues a frame comes to: frames of a flow to the one from which the client last sent some of it
 * (VIRTIO 1.2, 5.1.6.5.5). A flow on which frames came a moment ago stays where it is: what two queues hold has no order.
 */
#ifndef NET_SERVER_FLOW_H
#define NET_SERVER_FLOW_H

#include "frame.h"

/* A power of two. Flows that share a place share a queue. */
#define FLOWS_MAX 64u
/* So long nothing came for a flow before it goes to another queue: the client has taken what came before. */
#define FLOW_REST_MS 50u

struct flows {
    struct {
        uint64_t delivered_at; /* in ticks; 0: nothing came yet */
        uint32_t queue;
    } flow[FLOWS_MAX];
};

/* All flows are spread over the queues. */
void flows_begin(struct flows *flows);
/* A frame that comes: its queue, one of `queues`. */
uint32_t flows_queue(struct flows *flows, struct frame *frame, uint32_t queues);
/* The client has sent a frame from this queue. */
void flows_sent(struct flows *flows, struct frame *frame, uint32_t queue);

#endif
