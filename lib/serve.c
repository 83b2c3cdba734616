/* How a server of one thread waits. */
#include "serve.h"

#include "protocol/service.h"
#include "syscall.h"
#include "task.h"

void serve_begin(struct serve *serve,
                 bool (*request)(const struct message *message, unsigned *error))
{
    *serve = (struct serve){.request = request};
    sys_control(TASK_SLOT_THREAD, CONTROL_THREAD_BIND_NOTIFICATION, TASK_SLOT_NOTIFICATION, 0, 0,
                0);
}

uint64_t serve_wait(struct serve *serve, uint64_t deadline)
{
    struct message message = ipc(serve->answer ? IPC_REPLY_WAIT : IPC_WAIT, TASK_SLOT_ENDPOINT,
                                 TAG(serve->error, 0, 0), NULL, deadline);
    serve->answer = false;
    if (message.status != STATUS_OK)
        return 0;
    if (TAG_ORIGIN(message.tag) != ORIGIN_MESSAGE)
        return message.w[0];
    if (message.badge) {
        serve->answer = true;
        serve->error = SERVICE_OK;
        return TASK_BIT_CHANNEL((message.badge - 1) % SERVICE_CLIENTS_MAX);
    }
    serve->answer = serve->request(&message, &serve->error);
    return 0;
}
