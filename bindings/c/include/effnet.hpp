// effnet.hpp: libeffnet for C++17. This header alone is the C++ part: everything in it is inline,
// and the library exports C functions only, so that any compiler and standard library goes with
// it.
//
// Model and Session are owners that can be moved and not copied. Failures throw effnet::Error. A
// Model may be used by any number of threads; a Session by one at a time, see effnet.h.
//
//     effnet::Model model = effnet::Model::open("lite0.safetensors");
//     effnet::Session session(model);
//     for (const effnet::Prediction& p : session.classify_file("cat.jpg", 5))
//         std::printf("%5.1f %%  %s\n", 100 * p.probability, p.label.c_str());

#ifndef EFFNET_HPP
#define EFFNET_HPP

#include "effnet.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace effnet {

/// Why a call failed: what() in words, status() as a code.
class Error : public std::runtime_error {
public:
    Error(effnet_status status, const std::string& message)
        : std::runtime_error(message), status_(status) {}

    effnet_status status() const noexcept { return status_; }

private:
    effnet_status status_;
};

namespace detail {

struct FreeError {
    void operator()(effnet_error* error) const noexcept { effnet_error_free(error); }
};

/// Owns an error object, which is made into an exception.
inline Error error_of(effnet_status status, effnet_error* object) {
    const std::unique_ptr<effnet_error, FreeError> owned(object);
    const char* message = owned ? effnet_error_message(owned.get()) : effnet_status_name(status);
    return Error(status, message);
}

/// The place of an error, and whether there is one.
class Check {
public:
    Check() = default;
    Check(const Check&) = delete;
    Check& operator=(const Check&) = delete;
    ~Check() { effnet_error_free(error_); }

    effnet_error** place() noexcept { return &error_; }

    void operator()(effnet_status status) {
        if (status != EFFNET_OK) {
            throw error_of(status, std::exchange(error_, nullptr));
        }
    }

private:
    effnet_error* error_ = nullptr;
};

inline std::string text(const char* text) { return text ? std::string(text) : std::string(); }

} // namespace detail

/// Elements in a row that somebody else owns: a vector, an array, or a pointer and a number.
template <class T>
class Span {
public:
    constexpr Span() noexcept = default;
    constexpr Span(T* data, std::size_t size) noexcept : data_(data), size_(size) {}
    template <std::size_t N>
    constexpr Span(T (&array)[N]) noexcept : data_(array), size_(N) {}
    /// Of anything with data() and size(), as std::vector, std::array, std::string and std::span.
    template <class C, class = std::enable_if_t<std::is_convertible_v<
                           decltype(std::declval<C&>().data()), T*>>>
    constexpr Span(C& container) noexcept : data_(container.data()), size_(container.size()) {}
    template <class C, class = std::enable_if_t<std::is_convertible_v<
                           decltype(std::declval<const C&>().data()), T*>>>
    constexpr Span(const C& container) noexcept
        : data_(container.data()), size_(container.size()) {}

    constexpr T* data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }

private:
    T* data_ = nullptr;
    std::size_t size_ = 0;
};

/// Encoded bytes: of a std::vector of any type of byte, a std::string, or a pointer and a number.
class Bytes {
public:
    Bytes(const void* data, std::size_t size) noexcept : data_(data), size_(size) {}
    template <class C, class = std::enable_if_t<
                           sizeof(*std::declval<const C&>().data()) == 1 &&
                           std::is_trivially_copyable_v<std::remove_reference_t<
                               decltype(*std::declval<const C&>().data())>>>>
    Bytes(const C& container) noexcept : data_(container.data()), size_(container.size()) {}

    const void* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }

private:
    const void* data_;
    std::size_t size_;
};

/// One class, and how sure the network is of it.
struct Prediction {
    std::uint32_t index = 0;
    /// NaN where the session's activation is EFFNET_ACTIVATION_NONE.
    float probability = 0;
    float logit = 0;
    /// Empty where the names of the classes are unknown.
    std::string label;
};

/// A device that there is.
struct Device {
    effnet_device device = EFFNET_DEVICE_CPU;
    std::uint32_t index = 0;
    std::string name;
    std::uint64_t memory_bytes = 0;
    std::uint32_t compute_capability = 0;
    /// Empty where a session can run on it; else why not, and what to do.
    std::string why_not;

    bool usable() const noexcept { return why_not.empty(); }
};

/// What a session is made for. Members that are left alone are as effnet_session_options_init has
/// them.
struct Options : effnet_session_options {
    Options() : effnet_session_options() {
        detail::Check check;
        check(effnet_session_options_init(this, sizeof(effnet_session_options)));
    }
    /// On a device by its name: "auto", "cpu", "cuda", "cuda:1".
    explicit Options(const std::string& device_name) : Options() { on(device_name); }

    Options& on(const std::string& device_name) {
        detail::Check check;
        check(effnet_device_parse(device_name.c_str(), &device, &device_index, check.place()));
        return *this;
    }
};

/// Outputs of a run of n images.
struct Outputs {
    std::size_t n = 0;
    /// [n, classes]; empty where the model has no classifier.
    std::vector<float> logits;
    /// [n, features].
    std::vector<float> features;
};

/// What became of one of many images.
struct Outcome {
    /// Empty where the image has none.
    std::vector<Prediction> predictions;
    effnet_status status = EFFNET_OK;
    /// Why it has none; empty where it has some.
    std::string error;

    bool ok() const noexcept { return status == EFFNET_OK; }
};

/// Weights, opened.
class Model {
public:
    /// Opens packed weights. Unless they are copied, the file must stay as it is while they are
    /// used.
    static Model open(const std::string& path, bool copy = false) {
        detail::Check check;
        effnet_model* handle = nullptr;
        const std::uint32_t flags = copy ? EFFNET_MODEL_COPY : 0;
        check(effnet_model_open(path.c_str(), flags, &handle, check.place()));
        return Model(handle);
    }

    Model(Model&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Model& operator=(Model&& other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    Model(const Model&) = delete;
    Model& operator=(const Model&) = delete;
    ~Model() { effnet_model_release(handle_); }

    /// Another owner of the same weights.
    Model share() const {
        detail::Check check;
        check(effnet_model_retain(handle_));
        return Model(handle_);
    }

    effnet_model_info info() const {
        detail::Check check;
        effnet_model_info info{};
        info.struct_size = sizeof info;
        check(effnet_model_get_info(handle_, &info, check.place()));
        return info;
    }

    /// A class's name; empty where it is unknown.
    std::string label(std::uint32_t index) const {
        return detail::text(effnet_model_label(handle_, index));
    }

    const effnet_model* get() const noexcept { return handle_; }

private:
    explicit Model(effnet_model* handle) noexcept : handle_(handle) {}

    effnet_model* handle_;
};

/// A model on a device.
class Session {
public:
    explicit Session(const Model& model, const Options& options = Options())
        : model_(model.share()) {
        detail::Check check;
        effnet_session* handle = nullptr;
        check(effnet_session_create(model.get(), &options, &handle, check.place()));
        handle_.reset(handle);
    }

    effnet_session_info info() const {
        detail::Check check;
        effnet_session_info info{};
        info.struct_size = sizeof info;
        check(effnet_session_get_info(handle_.get(), &info, check.place()));
        return info;
    }

    const Model& model() const noexcept { return model_; }

    /// Runs n images, [n, height, width, 3] normalised, and waits for them.
    Outputs run(Span<const float> images, std::size_t n) {
        return run_(images, n, EFFNET_INPUT_F32);
    }
    /// The same of levels, in a session of EFFNET_INPUT_U8.
    Outputs run(Span<const std::uint8_t> images, std::size_t n) {
        return run_(images, n, EFFNET_INPUT_U8);
    }

    /// Begins a run beside others.
    void submit(Span<const float> images, std::size_t n) { submit_(images, n, EFFNET_INPUT_F32); }
    void submit(Span<const std::uint8_t> images, std::size_t n) {
        submit_(images, n, EFFNET_INPUT_U8);
    }

    /// Waits for the oldest run that was submitted and not collected.
    Outputs collect() {
        const effnet_session_info about = info();
        Outputs outputs = room(about, about.batch);
        detail::Check check;
        check(effnet_collect(handle_.get(), data(outputs.logits), outputs.logits.size(),
                             data(outputs.features), outputs.features.size(), &outputs.n,
                             check.place()));
        outputs.logits.resize(outputs.n * about.classes);
        outputs.features.resize(outputs.n * about.features);
        return outputs;
    }

    /// Runs images in the GPU's memory, in the order of a CUDA stream; see effnet_run_device.
    void run_device(const void* images, std::size_t n, void* logits, void* cuda_stream) {
        detail::Check check;
        check(effnet_run_device(handle_.get(), images, n, logits, cuda_stream, check.place()));
    }

    /// An encoded image as the session's input, normalised.
    std::vector<float> preprocess(Bytes encoded) const {
        return preprocess_<float>(encoded, EFFNET_INPUT_F32);
    }
    /// The same as levels, of a session of EFFNET_INPUT_U8.
    std::vector<std::uint8_t> preprocess_levels(Bytes encoded) const {
        return preprocess_<std::uint8_t>(encoded, EFFNET_INPUT_U8);
    }
    /// A decoded picture, rows of R, G, B, as the session's input, normalised.
    std::vector<float> preprocess_rgb(Span<const std::uint8_t> pixels, std::size_t width,
                                      std::size_t height, std::size_t stride = 0) const {
        const effnet_session_info about = expect(EFFNET_INPUT_F32);
        const std::size_t row = stride ? stride : width * 3;
        if (height > 0 && (row == 0 || pixels.size() / row < height - 1 ||
                           pixels.size() - (height - 1) * row < width * 3)) {
            throw Error(EFFNET_INVALID_ARGUMENT, "pixels: fewer than width, height and stride say");
        }
        std::vector<float> values(about.input_elems);
        detail::Check check;
        check(effnet_preprocess_rgb(handle_.get(), pixels.data(), width, height, stride,
                                    values.data(), values.size(), check.place()));
        return values;
    }

    /// The k best classes of an encoded image, the best first.
    std::vector<Prediction> classify(Bytes encoded, std::size_t k = 5) {
        return best(k, [&](effnet_prediction* out, std::size_t* count, effnet_error** error) {
            return effnet_classify(handle_.get(), encoded.data(), encoded.size(), k, out, count,
                                   error);
        });
    }
    /// The same of an image file.
    std::vector<Prediction> classify_file(const std::string& path, std::size_t k = 5) {
        return best(k, [&](effnet_prediction* out, std::size_t* count, effnet_error** error) {
            return effnet_classify_file(handle_.get(), path.c_str(), k, out, count, error);
        });
    }
    /// The same of many, decoded on all cores; a bad image is an outcome, and throws nothing.
    std::vector<Outcome> classify_many(const std::vector<Bytes>& images, std::size_t k = 5) {
        std::vector<effnet_image> inputs;
        inputs.reserve(images.size());
        for (const Bytes& image : images) {
            inputs.push_back({image.data(), image.size()});
        }
        std::vector<effnet_prediction> found(images.size() * k);
        std::vector<effnet_outcome> outcomes(images.size());
        detail::Check check;
        const effnet_status status =
            effnet_classify_many(handle_.get(), data(inputs), inputs.size(), k, data(found),
                                 data(outcomes), check.place());
        // Every error object has an owner before anything can throw.
        std::vector<std::unique_ptr<effnet_error, detail::FreeError>> errors;
        own(outcomes, errors);
        check(status);
        std::vector<Outcome> results(images.size());
        for (std::size_t i = 0; i < results.size(); i++) {
            results[i].status = static_cast<effnet_status>(outcomes[i].status);
            results[i].error = errors[i] ? effnet_error_message(errors[i].get()) : "";
            results[i].predictions = named(found.data() + i * k, outcomes[i].count);
        }
        return results;
    }

    /// The features of an encoded image.
    std::vector<float> features(Bytes encoded) {
        std::vector<float> values(info().features);
        detail::Check check;
        check(effnet_features(handle_.get(), encoded.data(), encoded.size(), values.data(),
                              values.size(), check.place()));
        return values;
    }

    /// The k best classes of one image's logits.
    std::vector<Prediction> top_k(Span<const float> logits, std::size_t k = 5) const {
        return best(k, [&](effnet_prediction* out, std::size_t* count, effnet_error** error) {
            return effnet_top_k(handle_.get(), logits.data(), logits.size(), k, out, count, error);
        });
    }
    /// The probabilities of one image's logits.
    std::vector<float> probabilities(Span<const float> logits) const {
        std::vector<float> values(logits.size());
        detail::Check check;
        check(effnet_probabilities(handle_.get(), logits.data(), logits.size(), values.data(),
                                   values.size(), check.place()));
        return values;
    }

    effnet_session* get() const noexcept { return handle_.get(); }

private:
    struct Destroy {
        void operator()(effnet_session* session) const noexcept { effnet_session_destroy(session); }
    };

    template <class T>
    static T* data(std::vector<T>& values) noexcept {
        return values.empty() ? nullptr : values.data();
    }

    static void own(const std::vector<effnet_outcome>& outcomes,
                    std::vector<std::unique_ptr<effnet_error, detail::FreeError>>& errors) {
        try {
            errors.reserve(outcomes.size());
        } catch (...) {
            for (const effnet_outcome& outcome : outcomes) {
                effnet_error_free(outcome.error);
            }
            throw;
        }
        for (const effnet_outcome& outcome : outcomes) {
            errors.emplace_back(outcome.error);
        }
    }

    effnet_session_info expect(effnet_input type) const {
        const effnet_session_info about = info();
        if (about.input != static_cast<std::int32_t>(type)) {
            throw Error(EFFNET_INVALID_ARGUMENT,
                        "images of another type than the session's: see effnet_input");
        }
        return about;
    }

    static Outputs room(const effnet_session_info& about, std::size_t n) {
        Outputs outputs;
        outputs.n = n;
        outputs.logits.resize(n * about.classes);
        outputs.features.resize(n * about.features);
        return outputs;
    }

    template <class T>
    Outputs run_(Span<const T> images, std::size_t n, effnet_input type) {
        const effnet_session_info about = expect(type);
        Outputs outputs = room(about, n <= about.batch ? n : 0);
        detail::Check check;
        check(effnet_run(handle_.get(), images.data(), images.size(), n, data(outputs.logits),
                         outputs.logits.size(), data(outputs.features), outputs.features.size(),
                         check.place()));
        return outputs;
    }

    template <class T>
    void submit_(Span<const T> images, std::size_t n, effnet_input type) {
        expect(type);
        detail::Check check;
        check(effnet_submit(handle_.get(), images.data(), images.size(), n, check.place()));
    }

    template <class T>
    std::vector<T> preprocess_(Bytes encoded, effnet_input type) const {
        std::vector<T> values(expect(type).input_elems);
        detail::Check check;
        check(effnet_preprocess(handle_.get(), encoded.data(), encoded.size(), values.data(),
                                values.size(), check.place()));
        return values;
    }

    template <class Find>
    std::vector<Prediction> best(std::size_t k, Find find) const {
        std::vector<effnet_prediction> found(k);
        std::size_t count = 0;
        detail::Check check;
        check(find(data(found), &count, check.place()));
        return named(found.data(), count);
    }

    std::vector<Prediction> named(const effnet_prediction* found, std::size_t count) const {
        std::vector<Prediction> predictions;
        predictions.reserve(count);
        for (std::size_t i = 0; i < count; i++) {
            predictions.push_back({found[i].index, found[i].probability, found[i].logit,
                                   model_.label(found[i].index)});
        }
        return predictions;
    }

    Model model_;
    std::unique_ptr<effnet_session, Destroy> handle_;
};

/// The GPUs that the driver sees, then the CPU.
inline std::vector<Device> devices() {
    detail::Check check;
    std::size_t count = 0;
    check(effnet_device_count(&count, check.place()));
    std::vector<Device> devices;
    for (std::size_t i = 0; i < count; i++) {
        effnet_device_info info{};
        info.struct_size = sizeof info;
        check(effnet_device_get_info(i, &info, check.place()));
        Device device;
        device.device = static_cast<effnet_device>(info.device);
        device.index = info.device_index;
        device.name = info.name;
        device.memory_bytes = info.memory_bytes;
        device.compute_capability = info.compute_capability;
        device.why_not = info.why_not;
        devices.push_back(std::move(device));
    }
    return devices;
}

/// Imports a checkpoint into packed weights.
inline void import_checkpoint(const std::string& source, const std::string& output,
                              effnet_precision precision = EFFNET_PRECISION_DEFAULT) {
    detail::Check check;
    check(effnet_import_checkpoint(source.c_str(), output.c_str(), precision, check.place()));
}

/// The library's version, as in "0.1.0".
inline std::string version() { return effnet_version(); }

} // namespace effnet

#endif // EFFNET_HPP
