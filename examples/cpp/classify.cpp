// Prints the best classes of images, which are decoded on all cores while the network runs: a line
// each of path, class, probability, logit and name, with tabs between them. Numbers are written so
// that they are read back as the same float.
//
//   c++ -std=c++17 classify.cpp $(pkg-config --cflags --libs effnet) -o classify
//   ./classify lite0.safetensors photos/*.jpg
//   ./classify -d cuda:0 -k 1 lite0.safetensors cat.jpg

#include <effnet.hpp>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace {

std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

int usage() {
    std::fprintf(stderr, "usage: classify [-d DEVICE] [-k CLASSES] WEIGHTS IMAGE...\n");
    return 2;
}

int classify(const std::string& device, std::size_t k, const std::string& weights,
             const std::vector<std::string>& paths) {
    const effnet::Model model = effnet::Model::open(weights);
    effnet::Options options(device);
    options.batch = 4;
    effnet::Session session(model, options);

    // A file that cannot be read is an empty image, which has an outcome as any other.
    std::vector<std::string> files;
    for (const std::string& path : paths) {
        files.push_back(read(path));
    }
    const std::vector<effnet::Bytes> images(files.begin(), files.end());
    const std::vector<effnet::Outcome> outcomes = session.classify_many(images, k);

    int result = 0;
    for (std::size_t i = 0; i < paths.size(); i++) {
        if (!outcomes[i].ok()) {
            const char* why = files[i].empty() ? "cannot be read, or is empty"
                                               : outcomes[i].error.c_str();
            std::fprintf(stderr, "classify: %s: %s\n", paths[i].c_str(), why);
            result = 1;
        }
        for (const effnet::Prediction& p : outcomes[i].predictions) {
            std::printf("%s\t%u\t%.9g\t%.9g\t%s\n", paths[i].c_str(),
                        static_cast<unsigned>(p.index), static_cast<double>(p.probability),
                        static_cast<double>(p.logit), p.label.c_str());
        }
    }
    return result;
}

} // namespace

int main(int argc, char** argv) {
    std::string device = "auto";
    std::size_t k = 5;
    std::vector<std::string> rest(argv + 1, argv + argc);
    while (rest.size() >= 2 && rest[0][0] == '-') {
        if (rest[0] == "-d") {
            device = rest[1];
        } else if (rest[0] == "-k") {
            k = std::strtoul(rest[1].c_str(), nullptr, 10);
        } else {
            return usage();
        }
        rest.erase(rest.begin(), rest.begin() + 2);
    }
    if (rest.size() < 2 || k == 0) {
        return usage();
    }
    try {
        return classify(device, k, rest[0], {rest.begin() + 1, rest.end()});
    } catch (const std::exception& error) {
        std::fprintf(stderr, "classify: %s\n", error.what());
        return 1;
    }
}
