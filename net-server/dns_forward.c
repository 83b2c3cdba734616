#include "dns_forward.h"

#include "frame.h"

/* The header: RFC 1035, 4.1.1. */
enum { AT_ID = 0, AT_FLAGS = 2, AT_QUESTIONS = 4, HEADER_BYTES = 12 };
enum { FLAG_ANSWER = 0x8000, OPERATION_MASK = 0x7800, FLAG_WANTED = 0x0100, CODE_FAILED = 2 };
enum { LABEL_MAX = 63, TYPE_AND_CLASS_BYTES = 4 };

/* The end of the one question; 0: it is not whole. Names in questions are not compressed. */
static size_t question_end(const uint8_t *message, size_t size_bytes)
{
    size_t at = HEADER_BYTES;
    while (at < size_bytes && message[at] != 0) {
        if (message[at] > LABEL_MAX)
            return 0;
        at += 1u + message[at];
    }
    return at + 1 + TYPE_AND_CLASS_BYTES <= size_bytes ? at + 1 + TYPE_AND_CLASS_BYTES : 0;
}

/* FNV-1a; letters in capitals are the same (RFC 4343), and a name server may answer with others. */
static uint32_t hash_of(const uint8_t *message, size_t end)
{
    uint32_t hash = 2166136261u;
    for (size_t i = HEADER_BYTES; i < end; i++) {
        uint8_t byte = message[i];
        hash = (hash ^ (byte >= 'A' && byte <= 'Z' ? byte + 32u : byte)) * 16777619u;
    }
    return hash;
}

static bool is_message(const uint8_t *message, size_t size_bytes, bool answer)
{
    if (size_bytes < HEADER_BYTES || size_bytes > DNS_MESSAGE_MAX)
        return false;
    uint16_t flags = read_be16(message + AT_FLAGS);
    return !(flags & FLAG_ANSWER) == !answer && !(flags & OPERATION_MASK) &&
           read_be16(message + AT_QUESTIONS) == 1;
}

static bool still_waits(const struct dns_question *question, uint32_t now_s)
{
    return question->waits && now_s - question->asked_s < DNS_PATIENCE_S;
}

static bool is_taken(const struct dns_forward *forward, uint16_t id, uint32_t now_s)
{
    for (uint32_t i = 0; i < DNS_QUESTIONS_MAX; i++)
        if (still_waits(&forward->questions[i], now_s) && forward->questions[i].id == id)
            return true;
    return false;
}

const struct dns_question *dns_forward_ask(struct dns_forward *forward, uint8_t *message,
                                           size_t size_bytes, uint32_t network, uint32_t address,
                                           uint16_t port, uint32_t now_s, uint16_t random)
{
    size_t end = is_message(message, size_bytes, false) ? question_end(message, size_bytes) : 0;
    struct dns_question *place = NULL;
    uint32_t of_network = 0;
    if (end == 0)
        return NULL;
    for (uint32_t i = 0; i < DNS_QUESTIONS_MAX; i++) {
        struct dns_question *question = &forward->questions[i];
        if (!still_waits(question, now_s)) {
            place = question;
            continue;
        }
        of_network += question->network == network;
    }
    if (!place || of_network >= DNS_NETWORK_SHARE)
        return NULL;
    while (is_taken(forward, random, now_s))
        random++;
    *place = (struct dns_question){.waits = true,
                                   .id = random,
                                   .asked_id = read_be16(message + AT_ID),
                                   .port = port,
                                   .address = address,
                                   .network = network,
                                   .asked_s = now_s,
                                   .question_hash = hash_of(message, end)};
    write_be16(message + AT_ID, random);
    return place;
}

const struct dns_question *dns_forward_answer(struct dns_forward *forward, uint8_t *message,
                                              size_t size_bytes, uint32_t now_s)
{
    size_t end = is_message(message, size_bytes, true) ? question_end(message, size_bytes) : 0;
    if (end == 0)
        return NULL;
    for (uint32_t i = 0; i < DNS_QUESTIONS_MAX; i++) {
        struct dns_question *question = &forward->questions[i];
        if (!still_waits(question, now_s) || question->id != read_be16(message + AT_ID) ||
            question->question_hash != hash_of(message, end))
            continue;
        question->waits = false;
        write_be16(message + AT_ID, question->asked_id);
        return question;
    }
    return NULL;
}

void dns_forward_refuse(uint8_t *message)
{
    write_be16(message + AT_FLAGS,
               FLAG_ANSWER | (read_be16(message + AT_FLAGS) & FLAG_WANTED) | CODE_FAILED);
}
