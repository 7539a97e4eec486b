// A checker that runs a few threads of real code over every interleaving, and over orders in which their stores can become visible and
// their loads can be done, on a machine where a store becomes visible to all others at once. (Not: a load after its thread's own later stores.)
// Each thread has a store buffer: a relaxed store may pass other locations' stores, a release store passes nothing, a sequentially
// consistent store or fence empties the buffer. A read-modify-write that is not sequentially consistent reads memory and leaves its
// store in the buffer; no other thread's store to that location becomes visible before it does.
// A load may be done early: it gives what was visible at any moment since the thread's last acquire or fence, but never something older
// than the thread has seen of that location. An acquire load may be early, too; what follows it is not before it. A sequentially
// consistent one is done where it stands.
//
// Executions are repeated from the start with another choice each time, depth first, until none is left.
#pragma once
#include <ucontext.h>
import std;

namespace model {

class Checker;
inline Checker* checker = nullptr;  // the one whose threads run

class Location {
protected:
    friend class Checker;
    std::uint64_t value_ = 0;
    struct Past { std::uint64_t value, until; };  // what was visible, and the time at which something else became so
    std::vector<Past> past_;
};

class Checker {
public:
    /// Runs `make()` for each execution: it builds the state, adds threads, and gives the check to do at the end (true: good).
    /// Gives the number of executions, or nothing when one failed. Throws when there are more than can be tried. `preemptions`: how often at most a thread that could go on has to stand
    /// back; when a store becomes visible is not bounded by that.
    static auto explore(const std::function<std::function<bool()>(Checker&)>& make, unsigned preemptions = ~0u) -> std::optional<std::size_t> {
        constexpr std::size_t most = 5'000'000;
        Checker c;
        checker = &c;
        for (std::size_t n = 1; n <= most; ++n) {
            c.threads_.clear();
            c.at_ = 0;
            c.last_ = 0;
            c.left_ = preemptions;
            c.now_ = c.ids_ = 0;
            c.impossible_ = false;
            const auto check = make(c);
            c.run();
            if (!c.impossible_ && !check()) return std::nullopt;
            while (!c.path_.empty() && c.path_.back().first + 1 == c.path_.back().second) c.path_.pop_back();
            if (c.path_.empty()) return n;
            ++c.path_.back().first;
        }
        throw std::runtime_error("more executions than are tried");
    }

    void thread(std::function<void()> body) {
        auto& t = threads_.emplace_back();
        t.body = std::move(body);
        if (stacks_.size() < threads_.size()) stacks_.push_back(std::make_unique_for_overwrite<char[]>(stack_size));
        t.stack = stacks_[threads_.size() - 1].get();
    }

    /// A place where another thread may go first, beside those of the atomics.
    void turn() {
        if (current_ >= 0) pause();
    }

    // What the atomics below call from a thread's body; outside one (set-up, the check) everything is immediate.
    auto load(const Location& l, std::memory_order order) -> std::uint64_t {
        if (current_ < 0) return l.value_;
        pause();
        auto& t = self();
        if (order == std::memory_order_seq_cst) t.since = now_;
        for (auto i = t.buffer.rbegin(); i != t.buffer.rend(); ++i) if (i->where == &l) return i->value;
        auto& seen = t.seen[&l];
        seen = std::max(seen, t.since);
        std::size_t first = l.past_.size();
        while (first > 0 && l.past_[first - 1].until > seen) --first;
        const auto n = l.past_.size() - first;
        const auto back = n == 0 ? 0 : choose(n + 1);  // 0: as it is now
        if (back != 0) seen = std::max(seen, l.past_.size() == back ? 0 : l.past_[l.past_.size() - back - 1].until);
        else seen = l.past_.empty() ? seen : std::max(seen, l.past_.back().until);
        if (order == std::memory_order_acquire || order == std::memory_order_acq_rel) t.since = std::max(t.since, seen);
        return back == 0 ? l.value_ : l.past_[l.past_.size() - back].value;
    }
    void store(Location& l, std::uint64_t v, std::memory_order order) {
        if (current_ < 0) {
            l.value_ = v;
            return;
        }
        pause();
        self().buffer.push_back({&l, v, ++ids_, order != std::memory_order_relaxed});
        if (order == std::memory_order_seq_cst) drain();
    }
    template <class F> auto modify(Location& l, std::memory_order order, F f) -> std::uint64_t {
        if (current_ >= 0) {
            pause();
            auto& t = self();
            const auto old = [&] {
                end_changes(l);
                if (order == std::memory_order_seq_cst) drain();
                else if (const auto* own = last_of(t, l, false)) reveal(t, own->id);
                return l.value_;
            }();
            if (order != std::memory_order_seq_cst) t.buffer.push_back({&l, f(old), ++ids_, order == std::memory_order_acq_rel || order == std::memory_order_release, true});
            else show(t, l, f(old));
            t.seen[&l] = now_;
            if (order == std::memory_order_seq_cst || order == std::memory_order_acq_rel || order == std::memory_order_acquire) t.since = now_;
            return old;
        }
        return std::exchange(l.value_, f(l.value_));
    }
    void fence() {
        if (current_ < 0) return;
        pause();
        drain();
        self().since = now_;
    }

private:
    static constexpr std::size_t stack_size = 64 * 1024;
    struct Store {
        Location* where;
        std::uint64_t value, id;
        bool release, change = false;  // change: of a read-modify-write
        bool leaving = false;          // reveal() is at it
    };
    struct Thread {
        std::function<void()> body;
        char* stack = nullptr;
        ucontext_t context{};
        std::vector<Store> buffer;
        std::uint64_t since = 0;                           // no load is done earlier than this
        std::map<const Location*, std::uint64_t> seen;     // nor of a location than that
        bool started = false, done = false;
    };

    auto self() -> Thread& { return threads_[static_cast<std::size_t>(current_)]; }
    void pause() { swapcontext(&self().context, &scheduler_); }
    void show(Thread& t, Location& l, std::uint64_t value) {
        l.past_.push_back({l.value_, ++now_});
        l.value_ = value;
        t.seen[&l] = now_;
    }
    void drain() {
        while (!self().buffer.empty() && !impossible_) reveal(self(), self().buffer.front().id);
    }
    static auto last_of(Thread& t, const Location& l, bool change) -> const Store* {
        for (auto s = t.buffer.rbegin(); s != t.buffer.rend(); ++s) if (s->where == &l && (s->change || !change)) return &*s;
        return nullptr;
    }
    /// What other threads have changed of a location, but not shown yet, becomes visible. True: there was some.
    auto end_changes(const Location& l, const Thread* but = nullptr) -> bool {
        for (auto& t : threads_)
            if (&t != (but != nullptr ? but : &self()))
                if (const auto* s = last_of(t, l, true)) return reveal(t, s->id), true;
        return false;
    }
    /// A store of a thread becomes visible, and before it what has to be. Where that comes round to itself, no machine gets there.
    void reveal(Thread& t, std::uint64_t id) {
        for (;;) {
            const auto at = std::ranges::find(t.buffer, id, &Store::id);
            if (at == t.buffer.end() || impossible_) return;
            if (std::exchange(at->leaving, true)) {
                impossible_ = true;
                return;
            }
            const auto before = std::ranges::find_if(t.buffer.begin(), at, [&](const Store& s) { return s.where == at->where || at->release; });
            if (before != at) reveal(t, before->id);
            else if (!end_changes(*at->where, &t)) {
                show(t, *at->where, at->value);
                t.buffer.erase(at);
                return;
            }
            if (const auto still = std::ranges::find(t.buffer, id, &Store::id); still != t.buffer.end()) still->leaving = false;
        }
    }
    static auto may_leave(const std::vector<Store>& b, std::size_t i) -> bool {
        for (std::size_t j = 0; j < i; ++j) if (b[j].where == b[i].where || b[i].release) return false;
        return true;
    }
    auto choose(std::size_t n) -> std::size_t {
        if (at_ == path_.size()) path_.emplace_back(0, n);
        return path_[at_++].first;
    }
    static void entry() {
        auto* c = checker;
        c->self().body();
        c->self().done = true;
        c->pause();
    }
    void step(std::size_t t) {
        current_ = static_cast<int>(t);
        auto& thread = threads_[t];
        if (!thread.started) {
            thread.started = true;
            getcontext(&thread.context);
            thread.context.uc_stack.ss_sp = thread.stack;
            thread.context.uc_stack.ss_size = stack_size;
            thread.context.uc_link = nullptr;
            makecontext(&thread.context, entry, 0);
        }
        swapcontext(&scheduler_, &thread.context);
        current_ = -1;
    }
    void run() {
        for (;;) {
            std::vector<std::pair<std::size_t, std::size_t>> actions;  // thread and 0, or thread and 1 + store
            for (std::size_t t = 0; t < threads_.size(); ++t) {
                if (!threads_[t].done && (left_ != 0 || t == last_ || threads_[last_].done)) actions.emplace_back(t, 0);
                for (std::size_t i = 0; i < threads_[t].buffer.size(); ++i)
                    if (may_leave(threads_[t].buffer, i)) actions.emplace_back(t, 1 + i);
            }
            if (actions.empty() || impossible_) return;
            const auto [t, what] = actions[choose(actions.size())];
            if (what == 0) {
                left_ -= left_ != 0 && t != last_ && !threads_[last_].done;
                last_ = t;
                step(t);
                continue;
            }
            reveal(threads_[t], threads_[t].buffer[what - 1].id);
        }
    }

    std::deque<Thread> threads_;
    std::vector<std::unique_ptr<char[]>> stacks_;  // kept from one execution to the next
    std::vector<std::pair<std::size_t, std::size_t>> path_;  // choice and how many there were
    std::size_t at_ = 0, last_ = 0;  // the thread whose turn it was last
    unsigned left_ = 0;
    int current_ = -1;
    bool impossible_ = false;          // this execution: the machine has no such one
    std::uint64_t now_ = 0, ids_ = 0;  // how many stores have become visible, and have been made
    ucontext_t scheduler_{};
};

/// std::atomic as far as the SDK uses it. `Weaken` maps each order to the one that is really used: for broken variants.
template <class T, auto Weaken = [](std::memory_order o) { return o; }>
class Atomic : public Location {
public:
    constexpr Atomic(T v = {}) { value_ = static_cast<std::uint64_t>(v); }
    auto load(std::memory_order o = std::memory_order_seq_cst) const -> T { return static_cast<T>(checker->load(*this, Weaken(o))); }
    void store(T v, std::memory_order o = std::memory_order_seq_cst) { checker->store(*this, static_cast<std::uint64_t>(v), Weaken(o)); }
    auto fetch_or(T v, std::memory_order o = std::memory_order_seq_cst) -> T { return modify(o, [&](auto old) { return old | static_cast<std::uint64_t>(v); }); }
    auto fetch_and(T v, std::memory_order o = std::memory_order_seq_cst) -> T { return modify(o, [&](auto old) { return old & static_cast<std::uint64_t>(v); }); }
    auto compare_exchange_strong(T& expected, T desired, std::memory_order o = std::memory_order_seq_cst) -> bool {
        const auto old = modify(o, [&](auto v) { return v == static_cast<std::uint64_t>(expected) ? static_cast<std::uint64_t>(desired) : v; });
        const bool done = old == expected;
        expected = old;
        return done;
    }

private:
    template <class F> auto modify(std::memory_order o, F f) -> T { return static_cast<T>(checker->modify(*this, Weaken(o), f)); }
};

}  // namespace model
