/*
 * Prints the best classes of images: a line each of path, class, probability, logit and name, with
 * tabs between them. Numbers are written so that they are read back as the same float.
 *
 *   cc classify.c $(pkg-config --cflags --libs effnet) -o classify
 *   ./classify lite0.safetensors cat.jpg dog.jpg
 *   ./classify -d cuda:0 -k 1 lite0.safetensors cat.jpg
 */

#include <effnet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Says why, and gives the error back. */
static void complain(const char *what, effnet_status status, effnet_error *error) {
    const char *message = error ? effnet_error_message(error) : effnet_status_name(status);
    fprintf(stderr, "classify: %s: %s\n", what, message);
    effnet_error_free(error);
}

static int usage(void) {
    fprintf(stderr, "usage: classify [-d DEVICE] [-k CLASSES] WEIGHTS IMAGE...\n");
    return 2;
}

/* A number above zero, or 0. */
static size_t number(const char *text) {
    char *end;
    errno = 0;
    const unsigned long value = strtoul(text, &end, 10);
    return errno == 0 && end != text && *end == 0 && value <= 1000000 ? (size_t)value : 0;
}

/* One image: 0, or 1 where it has no classes. */
static int classify(effnet_session *session, const effnet_model *model, const char *path, size_t k,
                    effnet_prediction *predictions) {
    effnet_error *error = NULL;
    size_t count = 0;
    const effnet_status status =
        effnet_classify_file(session, path, k, predictions, &count, &error);
    if (status != EFFNET_OK) {
        complain("cannot classify", status, error);
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        const effnet_prediction *p = &predictions[i];
        const char *label = effnet_model_label(model, p->index);
        printf("%s\t%u\t%.9g\t%.9g\t%s\n", path, (unsigned)p->index, (double)p->probability,
               (double)p->logit, label ? label : "");
    }
    return 0;
}

int main(int argc, char **argv) {
    const char *device = "auto";
    size_t k = 5;
    int next = 1;
    while (next + 1 < argc && argv[next][0] == '-') {
        if (strcmp(argv[next], "-d") == 0) {
            device = argv[next + 1];
        } else if (strcmp(argv[next], "-k") == 0) {
            k = number(argv[next + 1]);
        } else {
            return usage();
        }
        next += 2;
    }
    if (argc - next < 2 || k == 0) {
        return usage();
    }

    int result = 1;
    effnet_model *model = NULL;
    effnet_session *session = NULL;
    effnet_error *error = NULL;
    effnet_prediction *predictions = calloc(k, sizeof *predictions);
    effnet_session_options options;
    effnet_status status = effnet_session_options_init(&options, sizeof options);
    if (predictions == NULL || status != EFFNET_OK) {
        fprintf(stderr, "classify: cannot begin\n");
        goto end;
    }
    status = effnet_device_parse(device, &options.device, &options.device_index, &error);
    if (status != EFFNET_OK) {
        complain(device, status, error);
        goto end;
    }
    const char *weights = argv[next++];
    status = effnet_model_open(weights, 0, &model, &error);
    if (status != EFFNET_OK) {
        complain("cannot open the weights", status, error);
        goto end;
    }
    status = effnet_session_create(model, &options, &session, &error);
    if (status != EFFNET_OK) {
        complain("cannot make a session", status, error);
        goto end;
    }
    /* A bad image does not keep the others from their classes. */
    result = 0;
    for (; next < argc; next++) {
        result |= classify(session, model, argv[next], k, predictions);
    }

end:
    effnet_session_destroy(session);
    effnet_model_release(model);
    free(predictions);
    return result;
}
