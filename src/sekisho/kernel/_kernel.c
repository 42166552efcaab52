/* The compiled kernel: the plain case of what is done for every message, and nothing else.
 *
 * Each function here stands beside Python that does the same and more. It handles what nearly every client sends, and
 * declines the rest, which then goes the long way in Python: so the rules, the refusals and their words exist once.
 *
 *   Pump           the dialogue of sekisho.smtp.server: MAIL, RCPT, DATA, content and the replies to them
 *   split_header   the fields of a header (sekisho.message.fields)
 *   render_event   one line of the event log (sekisho.telemetry.events)
 *
 * Pump works on the objects of the Python classes themselves. These have __slots__, so that each attribute lies at a
 * fixed offset, which Python tells in the slot's descriptor. No state is kept on this side: a session may go from one
 * implementation to the other between two commands.
 *
 * Nothing blocks, nothing recurses, nothing is allocated beyond the objects returned.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#ifdef Py_GIL_DISABLED
#error "attributes are read without locks: without the GIL, the Python implementation is used"
#endif

/* ---------------------------------------------------------------- types and slots */

enum type { CONNECTION, LINES, TERMS, PROFILE, READER, REPLY, MAILBOX, HELLO, MAIL, RCPT, DATA, CHUNK, END, TYPES };

enum slot {
    STATE, INPUT, TERMS_OF, ASKED, EVENTS, OUTPUT, CONTENT_OF, WITHHOLDING, FLOODED, FRUITLESS, AT_EOF,
    OCTETS, AT, SWALLOWED,
    PROFILE_OF, TLS_ON, EXTENDED, AUTHENTICATED, TRANSACTIONS, UTF8_NOW, RECIPIENTS_NOW,
    EHLO_ANSWER, EHLO_ANSWER_OVER_TLS, MAX_CONTENT, MAX_RECIPIENTS, MAX_TRANSACTIONS, REQUIRE_TLS, REQUIRE_AUTH,
    HELD, SKIPPED, ENDED, SEEN, IMPURE, MAX_SEEN,
    CODE, WIRE,
    LOCAL_PART, DOMAIN,
    NAME, IS_EXTENDED,
    REVERSE_PATH, SIZE, BODY, SMTPUTF8, RET, ENVID, AUTH,
    MAILBOX_OF, NOTIFY, ORCPT,
    CHUNKED, CHUNK_OCTETS, REFUSAL,
    SLOTS
};

static const struct { enum type type; const char *name; } slots[SLOTS] = {
    [STATE] = {CONNECTION, "_state"}, [INPUT] = {CONNECTION, "_input"}, [TERMS_OF] = {CONNECTION, "_terms"},
    [ASKED] = {CONNECTION, "_asked"}, [EVENTS] = {CONNECTION, "_events"}, [OUTPUT] = {CONNECTION, "_output"},
    [CONTENT_OF] = {CONNECTION, "_content"}, [WITHHOLDING] = {CONNECTION, "_withholding"},
    [FLOODED] = {CONNECTION, "_flooded"}, [FRUITLESS] = {CONNECTION, "_fruitless"}, [AT_EOF] = {CONNECTION, "_eof"},
    [OCTETS] = {LINES, "_octets"}, [AT] = {LINES, "_at"}, [SWALLOWED] = {LINES, "_swallowed"},
    [PROFILE_OF] = {TERMS, "profile"}, [TLS_ON] = {TERMS, "tls"}, [EXTENDED] = {TERMS, "extended"},
    [AUTHENTICATED] = {TERMS, "authenticated"}, [TRANSACTIONS] = {TERMS, "transactions"},
    [UTF8_NOW] = {TERMS, "smtputf8"}, [RECIPIENTS_NOW] = {TERMS, "recipients"},
    [EHLO_ANSWER] = {PROFILE, "ehlo_answer"}, [EHLO_ANSWER_OVER_TLS] = {PROFILE, "ehlo_answer_over_tls"},
    [MAX_CONTENT] = {PROFILE, "max_content_octets"}, [MAX_RECIPIENTS] = {PROFILE, "max_recipients"},
    [MAX_TRANSACTIONS] = {PROFILE, "max_transactions"}, [REQUIRE_TLS] = {PROFILE, "require_tls"},
    [REQUIRE_AUTH] = {PROFILE, "require_auth"},
    [HELD] = {READER, "_held"}, [SKIPPED] = {READER, "_skipped"}, [ENDED] = {READER, "ended"},
    [SEEN] = {READER, "octets"}, [IMPURE] = {READER, "_impure"}, [MAX_SEEN] = {READER, "_max_octets"},
    [CODE] = {REPLY, "code"}, [WIRE] = {REPLY, "wire"},
    [LOCAL_PART] = {MAILBOX, "local_part"}, [DOMAIN] = {MAILBOX, "domain"},
    [NAME] = {HELLO, "name"}, [IS_EXTENDED] = {HELLO, "extended"},
    [REVERSE_PATH] = {MAIL, "reverse_path"}, [SIZE] = {MAIL, "declared_size"}, [BODY] = {MAIL, "body"},
    [SMTPUTF8] = {MAIL, "smtputf8"}, [RET] = {MAIL, "ret"}, [ENVID] = {MAIL, "envid"}, [AUTH] = {MAIL, "auth"},
    [MAILBOX_OF] = {RCPT, "mailbox"}, [NOTIFY] = {RCPT, "notify"}, [ORCPT] = {RCPT, "orcpt"},
    [CHUNKED] = {DATA, "chunked"}, [CHUNK_OCTETS] = {CHUNK, "octets"}, [REFUSAL] = {END, "refusal"},
};

enum state { CONNECTED, READY, SENDER, RECIPIENTS, CONTENT, TLS, CLOSED, STATES };

typedef struct {
    PyObject_HEAD
    PyTypeObject *types[TYPES];
    Py_ssize_t offset[SLOTS];
    PyObject *states[STATES];
    PyObject *sevenbit;
    PyObject *too_much, *bye; /* replies: to endless content, to QUIT */
    long long max_fruitless;
} Pump;

static PyObject *empty, *zero, *close_name, *close_with_name, *read_on_name, *receive_name, *refusal_name, *reply_name,
    *swallowed_name;

static inline PyObject **place(const Pump *pump, PyObject *object, enum slot slot)
{
    return (PyObject **)((char *)object + pump->offset[slot]);
}

static inline PyObject *get(const Pump *pump, PyObject *object, enum slot slot)
{
    return *place(pump, object, slot); /* borrowed; NULL when unset */
}

static inline void put(const Pump *pump, PyObject *object, enum slot slot, PyObject *value)
{
    PyObject **where = place(pump, object, slot), *former = *where;
    Py_INCREF(value);
    *where = value;
    Py_XDECREF(former);
}

static inline int is(const Pump *pump, PyObject *object, enum type type)
{
    return object != NULL && Py_IS_TYPE(object, pump->types[type]);
}

/* A small non-negative number, or -1 for anything else. */
static inline long long number(PyObject *object)
{
    if (object == NULL || !PyLong_CheckExact(object))
        return -1;
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    return overflow ? -1 : value;
}

static int put_number(const Pump *pump, PyObject *object, enum slot slot, long long value)
{
    PyObject *boxed = PyLong_FromLongLong(value);
    if (boxed == NULL)
        return -1;
    put(pump, object, slot, boxed);
    Py_DECREF(boxed);
    return 0;
}

/* ---------------------------------------------------------------- content */

/* What one pass over octets has found; `next_dot` goes on from `at`. */
typedef struct {
    const unsigned char *octets;
    Py_ssize_t at, size;
    int after_cr, after_lf; /* what stands before `at` */
    int impure;             /* a NUL was met, a CR without its LF, or an LF without its CR */
} Scan;

/* Where the next dot is that stands at the beginning of a line, -1 if there is none before `size`. */
static Py_ssize_t next_dot(Scan *scan)
{
    const unsigned char *octets = scan->octets;
    Py_ssize_t at = scan->at;
    unsigned cr = scan->after_cr, lf = scan->after_lf, bad = 0;
#ifdef __SSE2__
    const __m128i crs = _mm_set1_epi8('\r'), lfs = _mm_set1_epi8('\n'), dots = _mm_set1_epi8('.');
    for (; at + 16 <= scan->size; at += 16) {
        __m128i block = _mm_loadu_si128((const __m128i *)(octets + at));
        unsigned cr_mask = _mm_movemask_epi8(_mm_cmpeq_epi8(block, crs));
        unsigned lf_mask = _mm_movemask_epi8(_mm_cmpeq_epi8(block, lfs));
        unsigned dot_mask = _mm_movemask_epi8(_mm_cmpeq_epi8(block, dots)) & (lf_mask << 1 | lf);
        if (dot_mask)
            break; /* octet by octet from here to the dot */
        bad |= _mm_movemask_epi8(_mm_cmpeq_epi8(block, _mm_setzero_si128()));
        bad |= lf_mask ^ ((cr_mask << 1 | cr) & 0xffff);
        cr = cr_mask >> 15;
        lf = lf_mask >> 15;
    }
#endif
    for (; at < scan->size; at++) {
        unsigned char octet = octets[at];
        if (octet == '.' && lf) {
            scan->at = at + 1;
            scan->after_cr = scan->after_lf = 0;
            scan->impure |= bad != 0;
            return at;
        }
        bad |= octet == 0;
        bad |= (octet == '\n') != cr;
        cr = octet == '\r';
        lf = octet == '\n';
    }
    scan->at = at;
    scan->after_cr = cr;
    scan->after_lf = lf;
    scan->impure |= bad != 0;
    return -1;
}

/* How many octets at the end may begin the end of data. */
static int unfinished(const unsigned char *octets, Py_ssize_t size)
{
    if (size >= 1 && octets[size - 1] == '\r')
        return size >= 4 && memcmp(octets + size - 4, "\r\n.\r", 4) == 0 ? 4 : 1;
    if (size >= 2 && memcmp(octets + size - 2, "\r\n", 2) == 0)
        return 2;
    return size >= 3 && memcmp(octets + size - 3, "\r\n.", 3) == 0 ? 3 : 0;
}

/* Pure octets without the dots at the beginning of lines, of which there are so many. */
static PyObject *without_dots(const unsigned char *octets, Py_ssize_t from, Py_ssize_t to, Py_ssize_t dots)
{
    PyObject *body = PyBytes_FromStringAndSize(NULL, to - from - dots);
    if (body == NULL)
        return NULL;
    char *out = PyBytes_AS_STRING(body);
    Scan scan = {octets, 0, to, 0, 0, 0};
    while (dots--) {
        Py_ssize_t dot = next_dot(&scan);
        memcpy(out, octets + from, dot - from);
        out += dot - from;
        from = dot + 1;
    }
    memcpy(out, octets + from, to - from);
    return body;
}

/* DotReader.feed on octets[at:]. Returns what is worth passing on; *used is how many octets belonged to the content. */
static PyObject *feed(const Pump *pump, PyObject *reader, PyObject *octets, Py_ssize_t at, Py_ssize_t *used)
{
    PyObject *held = get(pump, reader, HELD), *joined = NULL, *body = NULL;
    long long skipped = number(get(pump, reader, SKIPPED)), seen = number(get(pump, reader, SEEN));
    long long most = number(get(pump, reader, MAX_SEEN));
    if (held == NULL || !PyBytes_CheckExact(held) || skipped < 0 || seen < 0 || most < 0) {
        PyErr_SetString(PyExc_TypeError, "the reader of content is not in its proper state");
        return NULL;
    }
    const unsigned char *data = (const unsigned char *)PyBytes_AS_STRING(octets) + at;
    Py_ssize_t kept = PyBytes_GET_SIZE(held), size = PyBytes_GET_SIZE(octets) - at;
    *used = size;
    if (kept) {
        joined = PyBytes_FromStringAndSize(NULL, kept + size);
        if (joined == NULL)
            return NULL;
        memcpy(PyBytes_AS_STRING(joined), PyBytes_AS_STRING(held), kept);
        memcpy(PyBytes_AS_STRING(joined) + kept, data, size);
        data = (const unsigned char *)PyBytes_AS_STRING(joined);
        size += kept;
    }
    int keep = unfinished(data, size);
    Py_ssize_t end = size - keep, dots = 0, dot;
    Scan scan = {data, 0, end, 0, 0, 0};
    int ended = 0;
    while ((dot = next_dot(&scan)) >= 0) {
        if (dot < 2 || data[dot - 2] != '\r')
            continue;
        if (size - dot >= 3 && data[dot + 1] == '\r' && data[dot + 2] == '\n') {
            ended = 1;
            end = dot;
            *used = dot + 3 - kept;
            break;
        }
        dots++;
    }
    int impure = scan.impure || scan.after_cr;
    put(pump, reader, ENDED, ended ? Py_True : Py_False);
    if (!ended) {
        PyObject *rest = PyBytes_FromStringAndSize((const char *)data + size - keep, keep);
        if (rest == NULL)
            goto done;
        put(pump, reader, HELD, rest);
        Py_DECREF(rest);
    }
    if (end == 0) {
        body = Py_NewRef(empty);
        goto done;
    }
    if (skipped)
        put(pump, reader, SKIPPED, zero);
    seen += end - dots - skipped;
    if (put_number(pump, reader, SEEN, seen) < 0)
        goto done;
    if (impure)
        put(pump, reader, IMPURE, Py_True);
    if (get(pump, reader, IMPURE) == Py_True || seen > most)
        body = Py_NewRef(empty);
    else if (dots)
        body = without_dots(data, skipped, end, dots);
    else if (data == (const unsigned char *)PyBytes_AS_STRING(octets) && !skipped && end == size)
        body = Py_NewRef(octets);
    else
        body = PyBytes_FromStringAndSize((const char *)data + skipped, end - skipped);
done:
    Py_XDECREF(joined);
    return body;
}

/* ---------------------------------------------------------------- commands */

enum { LOCAL = 1, LABEL_EDGE = 2, LABEL_INSIDE = 4 }; /* address.ATEXT and the dot; address.LABEL */
static unsigned char classes[256];

static void fill_classes(void)
{
    for (const char *c = "!#$%&'*+/=?^_`{|}~-."; *c; c++)
        classes[(unsigned char)*c] |= LOCAL;
    for (int c = 0; c < 128; c++)
        if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_')
            classes[c] |= LOCAL | LABEL_EDGE | LABEL_INSIDE;
    classes['-'] |= LABEL_INSIDE;
}

/* Whether the line begins with these words, in whatever case. */
static int begins(const unsigned char *line, Py_ssize_t size, const char *words)
{
    Py_ssize_t length = (Py_ssize_t)strlen(words);
    if (size < length)
        return 0;
    for (Py_ssize_t i = 0; i < length; i++) {
        unsigned char octet = line[i];
        if (octet >= 'a' && octet <= 'z')
            octet -= 'a' - 'A';
        if (octet != (unsigned char)words[i])
            return 0;
    }
    return 1;
}

static PyObject *ascii(const unsigned char *octets, Py_ssize_t size, int lower)
{
    PyObject *text = PyUnicode_New(size, 127);
    if (text == NULL)
        return NULL;
    Py_UCS1 *out = PyUnicode_1BYTE_DATA(text);
    for (Py_ssize_t i = 0; i < size; i++)
        out[i] = lower && octets[i] >= 'A' && octets[i] <= 'Z' ? octets[i] + ('a' - 'A') : octets[i];
    return text;
}

static PyObject *new_object(const Pump *pump, enum type type)
{
    return pump->types[type]->tp_alloc(pump->types[type], 0);
}

/* Read ` ?<local-part@domain>`. Returns the octets read; 0 for anything that is not plain; -1 for an error. */
static Py_ssize_t read_path(const Pump *pump, const unsigned char *line, Py_ssize_t size, PyObject **mailbox)
{
    Py_ssize_t at = size > 0 && line[0] == ' ';
    if (at >= size || line[at] != '<')
        return 0;
    Py_ssize_t local = ++at;
    while (at < size && classes[line[at]] & LOCAL)
        at++;
    Py_ssize_t local_size = at - local;
    if (local_size == 0 || at >= size || line[at] != '@')
        return 0;
    Py_ssize_t domain = ++at;
    for (;;) {
        Py_ssize_t label = at;
        while (at < size && classes[line[at]] & LABEL_INSIDE)
            at++;
        if (at == label || at - label > 63 || line[label] == '-' || line[at - 1] == '-')
            return 0;
        if (at >= size || line[at] != '.')
            break;
        at++;
    }
    Py_ssize_t domain_size = at - domain;
    if (at >= size || line[at] != '>' || domain_size > 253 || local_size + domain_size >= 254)
        return 0;
    PyObject *local_text = ascii(line + local, local_size, 0), *domain_text = ascii(line + domain, domain_size, 1);
    PyObject *made = local_text != NULL && domain_text != NULL ? new_object(pump, MAILBOX) : NULL;
    if (made != NULL) {
        put(pump, made, LOCAL_PART, local_text);
        put(pump, made, DOMAIN, domain_text);
    }
    Py_XDECREF(local_text);
    Py_XDECREF(domain_text);
    *mailbox = made;
    return made == NULL ? -1 : at + 1;
}

/* Each reader returns 1 with an event, 0 when the command is not plain, -1 for an error. */

static int read_mail(const Pump *pump, PyObject *terms, PyObject *profile, const unsigned char *line, Py_ssize_t size,
                     PyObject **event)
{
    long long done = number(get(pump, terms, TRANSACTIONS)), most = number(get(pump, profile, MAX_TRANSACTIONS));
    if (done < 0 || done >= most)
        return 0;
    if (get(pump, profile, REQUIRE_AUTH) != Py_False && get(pump, terms, AUTHENTICATED) != Py_True)
        return 0;
    PyObject *mailbox = NULL, *declared = NULL;
    Py_ssize_t at = read_path(pump, line, size, &mailbox);
    if (at <= 0)
        return (int)at;
    if (at == size) {
        declared = Py_NewRef(Py_None);
    } else {
        long long value = 0, largest = number(get(pump, profile, MAX_CONTENT));
        Py_ssize_t first = at + 6;
        int plain = size > first && size - first <= 18 && begins(line + at, size - at, " SIZE=") &&
                    get(pump, terms, EXTENDED) == Py_True;
        for (Py_ssize_t i = first; plain && i < size; i++) {
            plain = line[i] >= '0' && line[i] <= '9';
            value = value * 10 + (line[i] - '0');
        }
        if (!plain || value > largest) {
            Py_DECREF(mailbox);
            return 0;
        }
        declared = PyLong_FromLongLong(value);
    }
    PyObject *made = declared != NULL ? new_object(pump, MAIL) : NULL;
    if (made != NULL) {
        put(pump, made, REVERSE_PATH, mailbox);
        put(pump, made, SIZE, declared);
        put(pump, made, BODY, pump->sevenbit);
        put(pump, made, SMTPUTF8, Py_False);
        put(pump, made, RET, Py_None);
        put(pump, made, ENVID, Py_None);
        put(pump, made, AUTH, Py_None);
    }
    Py_DECREF(mailbox);
    Py_XDECREF(declared);
    *event = made;
    return made == NULL ? -1 : 1;
}

static int read_rcpt(const Pump *pump, PyObject *terms, PyObject *profile, const unsigned char *line, Py_ssize_t size,
                     PyObject **event)
{
    long long done = number(get(pump, terms, RECIPIENTS_NOW)), most = number(get(pump, profile, MAX_RECIPIENTS));
    if (done < 0 || done >= most)
        return 0;
    PyObject *mailbox = NULL;
    Py_ssize_t at = read_path(pump, line, size, &mailbox);
    if (at <= 0)
        return (int)at;
    PyObject *made = at == size ? new_object(pump, RCPT) : NULL;
    if (made != NULL) {
        put(pump, made, MAILBOX_OF, mailbox);
        put(pump, made, NOTIFY, Py_None);
        put(pump, made, ORCPT, Py_None);
    }
    Py_DECREF(mailbox);
    *event = made;
    return made != NULL ? 1 : at == size ? -1 : 0;
}

static int read_hello(const Pump *pump, PyObject *core, const unsigned char *line, Py_ssize_t size, PyObject **event)
{
    long long fruitless = number(get(pump, core, FRUITLESS));
    if (size < 1 || size > 255 || fruitless < 0 || fruitless >= pump->max_fruitless)
        return 0;
    for (Py_ssize_t i = 0; i < size; i++)
        if (line[i] <= ' ' || line[i] > '~')
            return 0;
    PyObject *name = ascii(line, size, 0), *made = name != NULL ? new_object(pump, HELLO) : NULL;
    if (made != NULL) {
        put(pump, made, NAME, name);
        put(pump, made, IS_EXTENDED, Py_True);
        if (put_number(pump, core, FRUITLESS, fruitless + 1) < 0)
            Py_CLEAR(made);
    }
    Py_XDECREF(name);
    *event = made;
    return made == NULL ? -1 : 1;
}

/* Answer QUIT, with no event. */
static int read_quit(const Pump *pump, PyObject *core)
{
    PyObject *output = get(pump, core, OUTPUT), *wire = get(pump, pump->bye, WIRE);
    if (output == NULL || !PyList_CheckExact(output) || wire == NULL)
        return 0;
    if (PyList_Append(output, wire) < 0)
        return -1;
    PyObject *closed = PyObject_CallMethodNoArgs(core, close_name);
    Py_XDECREF(closed);
    return closed == NULL ? -1 : 2;
}

static int read_data(const Pump *pump, PyObject **event)
{
    *event = new_object(pump, DATA);
    if (*event == NULL)
        return -1;
    put(pump, *event, CHUNKED, Py_False);
    return 1;
}

/* Read a plain command in the state that it belongs to. 3: nothing was received; 2: it was answered, with no event. */
static int read_command(const Pump *pump, PyObject *core, PyObject *state, PyObject **event)
{
    PyObject *lines = get(pump, core, INPUT), *terms = get(pump, core, TERMS_OF);
    if (!is(pump, lines, LINES) || !is(pump, terms, TERMS))
        return 0;
    PyObject *profile = get(pump, terms, PROFILE_OF), *octets = get(pump, lines, OCTETS);
    long long at = number(get(pump, lines, AT));
    if (!is(pump, profile, PROFILE) || octets == NULL || !PyBytes_CheckExact(octets) || at < 0 ||
        number(get(pump, lines, SWALLOWED)) != 0)
        return 0;
    Py_ssize_t left = PyBytes_GET_SIZE(octets) - at;
    if (left <= 0)
        return get(pump, core, AT_EOF) == Py_False ? 3 : 0;
    const unsigned char *line = (const unsigned char *)PyBytes_AS_STRING(octets) + at;
    const unsigned char *newline = memchr(line, '\n', left < 512 ? left : 512);
    if (newline == NULL || newline == line || newline[-1] != '\r')
        return 0;
    Py_ssize_t size = newline - 1 - line;
    int may_send = get(pump, profile, REQUIRE_TLS) == Py_False || get(pump, terms, TLS_ON) == Py_True;
    int connected = state == pump->states[CONNECTED], found = 0;
    if (connected || state == pump->states[READY]) {
        if (begins(line, size, "EHLO "))
            found = read_hello(pump, core, line + 5, size - 5, event);
        else if (size == 4 && begins(line, size, "QUIT"))
            found = read_quit(pump, core);
        else if (!connected && may_send && begins(line, size, "MAIL FROM:"))
            found = read_mail(pump, terms, profile, line + 10, size - 10, event);
    } else if (may_send && begins(line, size, "RCPT TO:")) {
        found = read_rcpt(pump, terms, profile, line + 8, size - 8, event);
    } else if (may_send && state == pump->states[RECIPIENTS] && size == 4 && begins(line, size, "DATA")) {
        found = read_data(pump, event);
    }
    if (found == 1) {
        if (put_number(pump, lines, AT, at + size + 2) < 0) {
            Py_CLEAR(*event);
            return -1;
        }
        put(pump, core, WITHHOLDING, Py_False);
        put(pump, core, ASKED, *event);
    }
    return found;
}

/* ---------------------------------------------------------------- the dialogue */

/* Read what there is of the content. 1: *event is what came of it; 0: nothing did; -1: an error; 2: the long way. */
static int read_content(const Pump *pump, PyObject *core, PyObject **event)
{
    PyObject *lines = get(pump, core, INPUT), *reader = get(pump, core, CONTENT_OF);
    PyObject *events = get(pump, core, EVENTS), *terms = get(pump, core, TERMS_OF);
    if (!is(pump, lines, LINES) || !is(pump, reader, READER) || !is(pump, terms, TERMS) ||
        !is(pump, get(pump, terms, PROFILE_OF), PROFILE) || events == NULL || !PyList_CheckExact(events))
        return 2;
    PyObject *octets = get(pump, lines, OCTETS);
    long long at = number(get(pump, lines, AT));
    if (octets == NULL || !PyBytes_CheckExact(octets) || at < 0 || at >= PyBytes_GET_SIZE(octets))
        return 2;
    Py_ssize_t used;
    Py_INCREF(reader);
    PyObject *made = NULL, *refusal = NULL, *body = feed(pump, reader, octets, at, &used);
    int result = -1;
    if (body == NULL)
        goto done;
    if (at + used == PyBytes_GET_SIZE(octets)) {
        put(pump, lines, OCTETS, empty);
        put(pump, lines, AT, zero);
    } else if (put_number(pump, lines, AT, at + used) < 0) {
        goto done;
    }
    result = 0;
    if (PyBytes_GET_SIZE(body)) {
        made = new_object(pump, CHUNK);
        if (made == NULL) {
            result = -1;
            goto done;
        }
        put(pump, made, CHUNK_OCTETS, body);
        result = 1;
    }
    int fair = get(pump, reader, IMPURE) == Py_False &&
               number(get(pump, reader, SEEN)) <= number(get(pump, reader, MAX_SEEN));
    if (!fair) {
        PyObject *most = PyObject_GetAttr(get(pump, terms, PROFILE_OF), swallowed_name);
        int far = most == NULL ? -1 : PyObject_RichCompareBool(get(pump, reader, SEEN), most, Py_GT);
        Py_XDECREF(most);
        if (far) {
            PyObject *closed = far < 0 ? NULL : PyObject_CallMethodOneArg(core, close_with_name, pump->too_much);
            Py_XDECREF(closed);
            if (closed == NULL)
                result = -1;
            goto done;
        }
    }
    if (get(pump, reader, ENDED) != Py_True)
        goto done;
    refusal = fair ? Py_NewRef(Py_None) : PyObject_GetAttr(reader, refusal_name);
    PyObject *end = refusal != NULL ? new_object(pump, END) : NULL;
    if (end == NULL) {
        result = -1;
        goto done;
    }
    put(pump, end, REFUSAL, refusal);
    put(pump, core, ASKED, end);
    if (made == NULL) {
        made = end;
        result = 1;
    } else { /* the octets first */
        if (PyList_Append(events, end) < 0)
            result = -1;
        Py_DECREF(end);
    }
done:
    Py_XDECREF(body);
    Py_XDECREF(refusal);
    Py_DECREF(reader);
    if (result < 0)
        Py_CLEAR(made);
    *event = made;
    return result;
}

/* The next event, as ServerConnection.next_event finds it. 1: there is one; 0: octets or a reply are due; -1: error. */
static int next_event(const Pump *pump, PyObject *core, PyObject **event)
{
    for (;;) {
        PyObject *events = get(pump, core, EVENTS), *state = get(pump, core, STATE);
        if (events == NULL || !PyList_CheckExact(events)) {
            PyErr_SetString(PyExc_TypeError, "the core's events are no list");
            return -1;
        }
        if (PyList_GET_SIZE(events)) {
            *event = Py_NewRef(PyList_GET_ITEM(events, 0));
            return PyList_SetSlice(events, 0, 1, NULL) < 0 ? -1 : 1;
        }
        if (get(pump, core, ASKED) != Py_None || state == pump->states[TLS] || state == pump->states[CLOSED])
            return 0;
        int found = 0;
        if (state == pump->states[CONTENT]) {
            found = read_content(pump, core, event);
            if (found == 1 || found < 0)
                return found;
            if (found == 0)
                continue;
        } else if (state == pump->states[CONNECTED] || state == pump->states[READY] ||
                   state == pump->states[SENDER] || state == pump->states[RECIPIENTS]) {
            found = read_command(pump, core, state, event);
            if (found == 1 || found < 0)
                return found;
            if (found)
                return 0;
        }
        PyObject *read = PyObject_CallMethodNoArgs(core, read_on_name);
        if (read == NULL)
            return -1;
        int went_on = PyObject_IsTrue(read);
        Py_DECREF(read);
        if (went_on < 0)
            return -1;
        events = get(pump, core, EVENTS);
        if (!went_on && events != NULL && PyList_CheckExact(events) && PyList_GET_SIZE(events) == 0) {
            if (get(pump, core, AT_EOF) == Py_True) {
                PyObject *closed = PyObject_CallMethodNoArgs(core, close_name);
                if (closed == NULL)
                    return -1;
                Py_DECREF(closed);
            }
            return 0;
        }
    }
}

/* ServerConnection.reply for the replies that move a message on. 1: done; 0: not one of these; -1: an error. */
static int answer_plain(const Pump *pump, PyObject *core, PyObject *reply)
{
    PyObject *asked = get(pump, core, ASKED), *terms = get(pump, core, TERMS_OF), *wire = get(pump, reply, WIRE);
    PyObject *output = get(pump, core, OUTPUT);
    long long code = number(get(pump, reply, CODE));
    if (get(pump, core, FLOODED) != Py_False || !is(pump, terms, TERMS) || wire == NULL || output == NULL ||
        !PyList_CheckExact(output))
        return 0;
    enum state next;
    int positive = code >= 200 && code < 300;
    if (is(pump, asked, HELLO) && positive && get(pump, asked, IS_EXTENDED) == Py_True) {
        PyObject *profile = get(pump, terms, PROFILE_OF);
        if (!is(pump, profile, PROFILE))
            return 0;
        wire = get(pump, profile, get(pump, terms, TLS_ON) == Py_True ? EHLO_ANSWER_OVER_TLS : EHLO_ANSWER);
        if (wire == NULL)
            return 0;
        put(pump, terms, EXTENDED, Py_True);
        next = READY;
    } else if (is(pump, asked, MAIL) && positive) {
        long long done = number(get(pump, terms, TRANSACTIONS));
        if (done < 0 || put_number(pump, terms, TRANSACTIONS, done + 1) < 0)
            return done < 0 ? 0 : -1;
        put(pump, terms, UTF8_NOW, get(pump, asked, SMTPUTF8));
        put(pump, terms, RECIPIENTS_NOW, zero);
        next = SENDER;
    } else if (is(pump, asked, RCPT) && positive) {
        long long done = number(get(pump, terms, RECIPIENTS_NOW));
        if (done < 0 || put_number(pump, terms, RECIPIENTS_NOW, done + 1) < 0)
            return done < 0 ? 0 : -1;
        next = RECIPIENTS;
    } else if (is(pump, asked, DATA) && code == 354 && get(pump, asked, CHUNKED) == Py_False) {
        PyObject *profile = get(pump, terms, PROFILE_OF);
        PyObject *most = is(pump, profile, PROFILE) ? get(pump, profile, MAX_CONTENT) : NULL;
        if (most == NULL)
            return 0;
        PyObject *reader = PyObject_CallOneArg((PyObject *)pump->types[READER], most);
        if (reader == NULL)
            return -1;
        put(pump, core, CONTENT_OF, reader);
        Py_DECREF(reader);
        next = CONTENT;
    } else if (is(pump, asked, END) && positive && get(pump, asked, REFUSAL) == Py_None) {
        put(pump, core, CONTENT_OF, Py_None);
        put(pump, core, FRUITLESS, zero);
        next = READY;
    } else {
        return 0;
    }
    put(pump, core, STATE, pump->states[next]);
    put(pump, core, ASKED, Py_None);
    return PyList_Append(output, wire) < 0 ? -1 : 1;
}

static int answer(const Pump *pump, PyObject *core, PyObject *reply)
{
    int done = answer_plain(pump, core, reply);
    if (done)
        return done;
    PyObject *result = PyObject_CallMethodOneArg(core, reply_name, reply);
    Py_XDECREF(result);
    return result == NULL ? -1 : 1;
}

/* ServerConnection.receive_data */
static int receive(const Pump *pump, PyObject *core, PyObject *octets)
{
    PyObject *lines = get(pump, core, INPUT), *state = get(pump, core, STATE);
    if (is(pump, lines, LINES) && get(pump, core, ASKED) == Py_None && state != pump->states[TLS] &&
        state != pump->states[CLOSED]) {
        PyObject *former = get(pump, lines, OCTETS);
        if (former != NULL && PyBytes_CheckExact(former) && number(get(pump, lines, AT)) == PyBytes_GET_SIZE(former)) {
            put(pump, lines, OCTETS, octets);
            put(pump, lines, AT, zero);
            return 0;
        }
    }
    PyObject *result = PyObject_CallMethodOneArg(core, receive_name, octets);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

PyDoc_STRVAR(run_doc, "run(core, octets, decide)\n--\n\nSee sekisho.smtp.server.run.");

static PyObject *Pump_run(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    const Pump *pump = (const Pump *)self;
    if (count != 3 || !is(pump, arguments[0], CONNECTION) || !PyBytes_CheckExact(arguments[1])) {
        PyErr_SetString(PyExc_TypeError, "run takes a core, octets and a callable");
        return NULL;
    }
    PyObject *core = arguments[0], *decide = arguments[2];
    if (PyBytes_GET_SIZE(arguments[1]) && receive(pump, core, arguments[1]) < 0)
        return NULL;
    for (;;) {
        PyObject *event = NULL;
        int found = next_event(pump, core, &event);
        if (found <= 0) {
            Py_XDECREF(event);
            return found < 0 ? NULL : Py_NewRef(Py_None);
        }
        PyObject *answered = PyObject_CallOneArg(decide, event);
        Py_DECREF(event);
        if (answered == NULL)
            return NULL;
        if (answered != Py_None) {
            if (!is(pump, answered, REPLY))
                return answered;
            if (answer(pump, core, answered) < 0) {
                Py_DECREF(answered);
                return NULL;
            }
        }
        Py_DECREF(answered);
    }
}

PyDoc_STRVAR(take_doc, "take(core)\n--\n\nSee sekisho.smtp.ServerConnection.data_to_send.");

static PyObject *Pump_take(PyObject *self, PyObject *core)
{
    const Pump *pump = (const Pump *)self;
    PyObject *output = is(pump, core, CONNECTION) ? get(pump, core, OUTPUT) : NULL;
    if (output == NULL || !PyList_CheckExact(output)) {
        PyErr_SetString(PyExc_TypeError, "take takes a core");
        return NULL;
    }
    Py_ssize_t count = PyList_GET_SIZE(output), size = 0;
    if (count == 0)
        return Py_NewRef(empty);
    PyObject *octets = count == 1 ? Py_NewRef(PyList_GET_ITEM(output, 0)) : NULL;
    if (count > 1) {
        for (Py_ssize_t i = 0; i < count; i++)
            size += PyBytes_Size(PyList_GET_ITEM(output, i));
        if (PyErr_Occurred() || (octets = PyBytes_FromStringAndSize(NULL, size)) == NULL)
            return NULL;
        char *out = PyBytes_AS_STRING(octets);
        for (Py_ssize_t i = 0; i < count; i++) {
            PyObject *part = PyList_GET_ITEM(output, i);
            memcpy(out, PyBytes_AS_STRING(part), PyBytes_GET_SIZE(part));
            out += PyBytes_GET_SIZE(part);
        }
    }
    if (PyList_SetSlice(output, 0, count, NULL) < 0)
        Py_CLEAR(octets);
    return octets;
}

PyDoc_STRVAR(feed_doc, "feed(reader, octets)\n--\n\nSee sekisho.smtp.data.DotReader.feed.");

static PyObject *Pump_feed(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    const Pump *pump = (const Pump *)self;
    if (count != 2 || !is(pump, arguments[0], READER) || !PyBytes_CheckExact(arguments[1])) {
        PyErr_SetString(PyExc_TypeError, "feed takes a reader and octets");
        return NULL;
    }
    Py_ssize_t used;
    PyObject *body = feed(pump, arguments[0], arguments[1], 0, &used);
    return body == NULL ? NULL : Py_BuildValue("Nn", body, used);
}

static PyObject *Pump_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *classes_given, *states;
    PyObject *sevenbit, *too_much, *bye;
    long long max_fruitless;
    if (!PyArg_ParseTuple(arguments, "O!O!OOOL:Pump", &PyTuple_Type, &classes_given, &PyTuple_Type, &states, &sevenbit,
                          &too_much, &bye, &max_fruitless))
        return NULL;
    if (PyTuple_GET_SIZE(classes_given) != TYPES || PyTuple_GET_SIZE(states) != STATES) {
        PyErr_SetString(PyExc_TypeError, "Pump knows other classes or states");
        return NULL;
    }
    Pump *pump = (Pump *)type->tp_alloc(type, 0);
    if (pump == NULL)
        return NULL;
    for (int i = 0; i < TYPES; i++) {
        PyObject *given = PyTuple_GET_ITEM(classes_given, i);
        if (!PyType_Check(given)) {
            PyErr_SetString(PyExc_TypeError, "Pump takes classes");
            goto failed;
        }
        pump->types[i] = (PyTypeObject *)Py_NewRef(given);
    }
    for (int i = 0; i < SLOTS; i++) {
        PyTypeObject *owner = pump->types[slots[i].type];
        PyObject *descriptor = PyObject_GetAttrString((PyObject *)owner, slots[i].name);
        if (descriptor == NULL)
            goto failed;
        PyMemberDef *member =
            Py_IS_TYPE(descriptor, &PyMemberDescr_Type) ? ((PyMemberDescrObject *)descriptor)->d_member : NULL;
        if (member == NULL || member->type != T_OBJECT_EX) {
            PyErr_Format(PyExc_TypeError, "%s.%s is no slot", owner->tp_name, slots[i].name);
            Py_DECREF(descriptor);
            goto failed;
        }
        pump->offset[i] = member->offset;
        Py_DECREF(descriptor);
    }
    for (int i = 0; i < STATES; i++)
        pump->states[i] = Py_NewRef(PyTuple_GET_ITEM(states, i));
    pump->sevenbit = Py_NewRef(sevenbit);
    pump->too_much = Py_NewRef(too_much);
    pump->bye = Py_NewRef(bye);
    pump->max_fruitless = max_fruitless;
    if (!is(pump, bye, REPLY)) {
        PyErr_SetString(PyExc_TypeError, "Pump takes replies");
        goto failed;
    }
    return (PyObject *)pump;
failed:
    Py_DECREF(pump);
    return NULL;
}

static void Pump_dealloc(PyObject *self)
{
    Pump *pump = (Pump *)self;
    PyTypeObject *type = Py_TYPE(self);
    for (int i = 0; i < TYPES; i++)
        Py_XDECREF(pump->types[i]);
    for (int i = 0; i < STATES; i++)
        Py_XDECREF(pump->states[i]);
    Py_XDECREF(pump->sevenbit);
    Py_XDECREF(pump->too_much);
    Py_XDECREF(pump->bye);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef pump_methods[] = {
    {"run", (PyCFunction)(void (*)(void))Pump_run, METH_FASTCALL, run_doc},
    {"take", Pump_take, METH_O, take_doc},
    {"feed", (PyCFunction)(void (*)(void))Pump_feed, METH_FASTCALL, feed_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot pump_slots[] = {
    {Py_tp_new, Pump_new}, {Py_tp_dealloc, Pump_dealloc}, {Py_tp_methods, pump_methods}, {0, NULL}};

static PyType_Spec pump_spec = {"sekisho.kernel._kernel.Pump", sizeof(Pump), 0, Py_TPFLAGS_DEFAULT, pump_slots};

/* ---------------------------------------------------------------- the header */

PyDoc_STRVAR(split_doc, "split_header(octets, max_fields)\n--\n\n"
                        "Return the fields, their names, where each ends, and where all end; None when a line is no field or there "
                        "are too many.");

static PyObject *split_header(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 2 || !PyBytes_CheckExact(arguments[0])) {
        PyErr_SetString(PyExc_TypeError, "split_header takes octets and a number");
        return NULL;
    }
    Py_ssize_t most = PyLong_AsSsize_t(arguments[1]);
    if (most < 0 && PyErr_Occurred())
        return NULL;
    const unsigned char *octets = (const unsigned char *)PyBytes_AS_STRING(arguments[0]);
    Py_ssize_t size = PyBytes_GET_SIZE(arguments[0]), at = 0;
    PyObject *fields = PyList_New(0), *names = PyList_New(0), *ends = PyList_New(0);
    if (fields == NULL || names == NULL || ends == NULL)
        goto failed;
    while (at < size && !(size - at >= 2 && octets[at] == '\r' && octets[at + 1] == '\n')) {
        Py_ssize_t name = at;
        while (at < size && octets[at] > ' ' && octets[at] < 0x7f && octets[at] != ':')
            at++;
        Py_ssize_t name_size = at - name;
        while (at < size && (octets[at] == ' ' || octets[at] == '\t'))
            at++;
        if (name_size == 0 || at >= size || octets[at] != ':')
            goto declined;
        Py_ssize_t value = ++at, value_end;
        for (;;) {
            const unsigned char *cr = memchr(octets + at, '\r', size - at);
            if (cr == NULL) {
                value_end = at = size;
                break;
            }
            value_end = cr - octets;
            if (value_end + 1 >= size || cr[1] != '\n')
                goto declined;
            at = value_end + 2;
            if (at >= size || (octets[at] != ' ' && octets[at] != '\t'))
                break;
        }
        PyObject *pair = NULL, *end = PyLong_FromSsize_t(at), *key = ascii(octets + name, name_size, 1);
        PyObject *text = PyBytes_FromStringAndSize((const char *)octets + value, value_end - value);
        if (key != NULL && text != NULL)
            pair = PyTuple_Pack(2, key, text);
        int failed = pair == NULL || end == NULL || PyList_Append(fields, pair) < 0 ||
                     PyList_Append(names, key) < 0 || PyList_Append(ends, end) < 0;
        Py_XDECREF(pair);
        Py_XDECREF(end);
        Py_XDECREF(key);
        Py_XDECREF(text);
        if (failed)
            goto failed;
        if (PyList_GET_SIZE(ends) > most)
            goto declined;
    }
    return Py_BuildValue("NNNn", fields, names, ends, at);
declined:
    Py_DECREF(fields);
    Py_DECREF(names);
    Py_DECREF(ends);
    Py_RETURN_NONE;
failed:
    Py_XDECREF(fields);
    Py_XDECREF(names);
    Py_XDECREF(ends);
    return NULL;
}

/* ---------------------------------------------------------------- the event log */

typedef struct {
    char *octets, first[1024];
    Py_ssize_t size, room;
} Line;

static char *grow(Line *line, Py_ssize_t more)
{
    if (line->size + more > line->room) {
        Py_ssize_t room = (line->size + more) * 2;
        char *octets = PyMem_Realloc(line->octets == line->first ? NULL : line->octets, room);
        if (octets == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        if (line->octets == line->first)
            memcpy(octets, line->first, line->size);
        line->octets = octets;
        line->room = room;
    }
    return line->octets + line->size;
}

static int add(Line *line, const char *octets, Py_ssize_t size)
{
    char *out = grow(line, size);
    if (out == NULL)
        return -1;
    memcpy(out, octets, size);
    line->size += size;
    return 0;
}

static char *hexadecimal(char *out, Py_UCS4 unit)
{
    *out++ = '\\';
    *out++ = 'u';
    for (int shift = 12; shift >= 0; shift -= 4)
        *out++ = "0123456789abcdef"[unit >> shift & 15];
    return out;
}

/* Text as json.encoder.encode_basestring_ascii renders it. */
static int add_text(Line *line, PyObject *text)
{
    Py_ssize_t length = PyUnicode_GET_LENGTH(text);
    int kind = PyUnicode_KIND(text);
    const void *data = PyUnicode_DATA(text);
    char *start = grow(line, length * 12 + 2), *out = start;
    if (out == NULL)
        return -1;
    *out++ = '"';
    for (Py_ssize_t i = 0; i < length; i++) {
        Py_UCS4 c = PyUnicode_READ(kind, data, i);
        if (c >= ' ' && c < 0x7f && c != '"' && c != '\\') {
            *out++ = (char)c;
            continue;
        }
        const char *letters = "\"\"\\\\\bb\ff\nn\rr\tt", *found = c && c < 0x80 ? letters : NULL;
        while (found != NULL && *found && (Py_UCS4)*found != c)
            found += 2;
        if (found != NULL && *found) {
            *out++ = '\\';
            *out++ = found[1];
        } else if (c > 0xffff) {
            c -= 0x10000;
            out = hexadecimal(out, 0xd800 | c >> 10);
            out = hexadecimal(out, 0xdc00 | (c & 0x3ff));
        } else {
            out = hexadecimal(out, c);
        }
    }
    *out++ = '"';
    line->size += out - start;
    return 0;
}

/* 1: added; 0: a value that only Python renders; -1: an error. */
static int add_value(Line *line, PyObject *value, Py_ssize_t longest)
{
    if (PyUnicode_Check(value))
        return PyUnicode_GET_LENGTH(value) > longest ? 0 : add_text(line, value) < 0 ? -1 : 1;
    if (PyLong_CheckExact(value)) {
        int overflow;
        long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
        char digits[32];
        if (overflow)
            return 0;
        return add(line, digits, snprintf(digits, sizeof digits, "%lld", number)) < 0 ? -1 : 1;
    }
    if (PyBool_Check(value))
        return (value == Py_True ? add(line, "true", 4) : add(line, "false", 5)) < 0 ? -1 : 1;
    if (!PyList_CheckExact(value))
        return 0;
    if (add(line, "[", 1) < 0)
        return -1;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(value); i++) {
        PyObject *one = PyList_GET_ITEM(value, i);
        if (!PyUnicode_Check(one) || PyUnicode_GET_LENGTH(one) > longest)
            return 0;
        if ((i && add(line, ",", 1) < 0) || add_text(line, one) < 0)
            return -1;
    }
    return add(line, "]", 1) < 0 ? -1 : 1;
}

PyDoc_STRVAR(render_doc, "render_event(start, fields, end, longest)\n--\n\n"
                         "Return start, a JSON member for each field that is not None, and end; None when a value is "
                         "not text of at most *longest* characters, a number, a truth value or a list of such text.");

static PyObject *render_event(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 4 || !PyUnicode_Check(arguments[0]) || !PyDict_CheckExact(arguments[1]) ||
        !PyUnicode_Check(arguments[2])) {
        PyErr_SetString(PyExc_TypeError, "render_event takes text, fields, text and a number");
        return NULL;
    }
    Py_ssize_t longest = PyLong_AsSsize_t(arguments[3]), size, position = 0;
    if (longest < 0 && PyErr_Occurred())
        return NULL;
    Line line = {.size = 0, .room = sizeof line.first};
    line.octets = line.first;
    PyObject *name, *value, *result = NULL;
    int added = 1;
    const char *text = PyUnicode_AsUTF8AndSize(arguments[0], &size);
    if (text == NULL || add(&line, text, size) < 0)
        goto done;
    while (added > 0 && PyDict_Next(arguments[1], &position, &name, &value)) {
        if (value == Py_None)
            continue;
        if (add(&line, ",", 1) < 0 || add_text(&line, name) < 0 || add(&line, ":", 1) < 0)
            goto done;
        added = add_value(&line, value, longest);
    }
    if (added < 0)
        goto done;
    if (added == 0) {
        result = Py_NewRef(Py_None);
        goto done;
    }
    text = PyUnicode_AsUTF8AndSize(arguments[2], &size);
    if (text != NULL && add(&line, text, size) == 0)
        result = PyBytes_FromStringAndSize(line.octets, line.size);
done:
    if (line.octets != line.first)
        PyMem_Free(line.octets);
    return result;
}

/* ---------------------------------------------------------------- the module */

static PyMethodDef functions[] = {
    {"split_header", (PyCFunction)(void (*)(void))split_header, METH_FASTCALL, split_doc},
    {"render_event", (PyCFunction)(void (*)(void))render_event, METH_FASTCALL, render_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_kernel", "The plain case of what is done for every message.", -1, functions,
    NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernel(void)
{
    fill_classes();
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL)
        return NULL;
    const struct { PyObject **where; const char *text; } names[] = {
        {&close_name, "_close"}, {&close_with_name, "close_with"}, {&read_on_name, "_read_on"},
        {&receive_name, "receive_data"}, {&refusal_name, "refusal"}, {&reply_name, "reply"},
        {&swallowed_name, "max_swallowed_octets"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if ((*names[i].where = PyUnicode_InternFromString(names[i].text)) == NULL)
            return NULL;
    empty = PyBytes_FromStringAndSize(NULL, 0);
    zero = PyLong_FromLong(0);
    PyObject *pump_type = PyType_FromSpec(&pump_spec);
    if (empty == NULL || zero == NULL || pump_type == NULL || PyModule_AddObject(module, "Pump", pump_type) < 0)
        return NULL;
    return module;
}
