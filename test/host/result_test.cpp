#include <catch2/catch_test_macros.hpp>
import std;
import axvcpu;

using namespace axvcpu;

TEST_CASE("a result is a value or an error, and says which", "[result]") {
    const Result<int> good = 5;
    const Result<int> bad = Error{Code::misaligned, "a multiple of 4", 4, 6};
    REQUIRE(good);
    CHECK(*good == 5);
    REQUIRE_FALSE(bad);
    CHECK(bad.error().code == Code::misaligned);
    CHECK(bad.error().expected == 4);
    CHECK(bad.value_or(7) == 7);
}

TEST_CASE("a result can refer to an object", "[result]") {
    int x = 1;
    Result<int&> r = x;
    *r = 2;
    CHECK(x == 2);
}
