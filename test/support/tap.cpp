// A reporter for Catch2 that prints one TAP line for each test case, so that a case is a result.
#include <catch2/catch_test_case_info.hpp>
#include <catch2/interfaces/catch_interfaces_config.hpp>
#include <catch2/reporters/catch_reporter_registrars.hpp>
#include <catch2/reporters/catch_reporter_streaming_base.hpp>
#include <ostream>
#include <string>

namespace {

auto one_line(std::string s) -> std::string {
    for (char& c : s) if (c == '\n' || c == '#') c = ' ';
    return s;
}

class Tap final : public Catch::StreamingReporterBase {
public:
    using StreamingReporterBase::StreamingReporterBase;
    static auto getDescription() -> std::string { return "TAP, one line a test case"; }

    void testRunStarting(const Catch::TestRunInfo& info) override {
        StreamingReporterBase::testRunStarting(info);
        m_stream << "# rng-seed " << m_config->rngSeed() << std::endl;  // for the command that runs a case again
    }
    void testCaseStarting(const Catch::TestCaseInfo& info) override {
        StreamingReporterBase::testCaseStarting(info);
        m_stream << "# case " << one_line(info.name) << std::endl;  // a hang names the case it is in
    }
    void assertionEnded(const Catch::AssertionStats& stats) override {
        const auto& r = stats.assertionResult;
        if (r.isOk()) return;
        m_stream << "#   " << r.getSourceInfo() << ": " << one_line(r.getExpressionInMacro());
        if (r.hasExpandedExpression()) m_stream << "  which is  " << one_line(r.getExpandedExpression());
        if (r.hasMessage()) m_stream << "  " << one_line(std::string(r.getMessage()));
        for (const auto& m : stats.infoMessages) m_stream << "  (" << one_line(m.message) << ')';
        m_stream << std::endl;
    }
    void testCaseEnded(const Catch::TestCaseStats& stats) override {
        m_stream << (stats.totals.testCases.failed != 0 ? "not ok " : "ok ") << ++count_ << " - " << one_line(stats.testInfo->name)
                 << (stats.totals.testCases.skipped != 0 ? " # SKIP" : "") << std::endl;
    }
    void testRunEnded(const Catch::TestRunStats&) override { m_stream << "1.." << count_ << std::endl; }

private:
    int count_ = 0;
};

}  // namespace

CATCH_REGISTER_REPORTER("cases", Tap)
