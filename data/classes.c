/* Names: the 71 classes of AVSBench-semantic, the stems of the demo data in their order, and which of the former the latter
 * are. */
#include "data/composer.h"
#include "data/dataset.h"
#include "data/resample_image.h"

#include <string.h>

const char *const avs_avss_names[AVS_AVSS_CLASSES] = {
    "background", "accordion",      "airplane",   "axe",       "baby",          "bassoon",
    "bell",       "bird",           "boat",       "boy",       "bus",           "car",
    "cat",        "cello",          "clarinet",   "clipper",   "clock",         "dog",
    "donkey",     "drum",           "duck",       "elephant",  "emergency-car", "erhu",
    "flute",      "frying-food",    "girl",       "goose",     "guitar",        "gun",
    "guzheng",    "hair-dryer",     "handpan",    "harmonica", "harp",          "helicopter",
    "hen",        "horse",          "keyboard",   "leopard",   "lion",          "man",
    "marimba",    "missile-rocket", "motorcycle", "mower",     "parrot",        "piano",
    "pig",        "pipa",           "saw",        "saxophone", "sheep",         "sitar",
    "sorna",      "squirrel",       "tabla",      "tank",      "tiger",         "tractor",
    "train",      "trombone",       "truck",      "trumpet",   "tuba",          "ukulele",
    "utv",        "vacuum-cleaner", "violin",     "wolf",      "woman",
};

const char *const avs_stamp_list[] = {
    "dog",          "elephant", "rooster", "firetruck", "cow",    "zebra",   "drum_tomtom_floor",
    "violin",       "frog",     "duck",    "owl",       "hornet", "sheep",   "gorilla",
    "cello",        "toilet",   "penguin", "tiger",     "horse",  "pig",     "crow",
    "donkey",       "bear",     "camel",   "seagull",   "turkey", "goat",    "koala",
    "sea_lion",     "drumkit",  "rabbit",  "dolphin",   "lion",   "vulture", "deer",
    "hippopotamus", "chimp",    "fox",     "ferret",    "tucan",  NULL,
};

int avs_avss_class_of(const char *stem)
{
    static const char *const other[][2] = {{"firetruck", "emergency-car"}, {"drum_tomtom_floor", "drum"}};
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        if (strcmp(stem, other[i][0]) == 0) stem = other[i][1];
    for (int i = 1; i < 71; i++) {
        const char *a = stem, *b = avs_avss_names[i];
        while (*a && (*a == *b || (*a == '_' && *b == '-'))) a++, b++;
        if (!*a && !*b) return i;
    }
    return -1;
}

const char *avs_avss_name(int c)
{
    return c >= 0 && c < AVS_AVSS_CLASSES ? avs_avss_names[c] : "?";
}
