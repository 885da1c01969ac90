"""What the tests of implementations share: contract suites, fakes and a clock to own."""
