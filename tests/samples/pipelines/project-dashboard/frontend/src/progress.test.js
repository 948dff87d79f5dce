const { progress } = require("./progress");

test("what is done of all, in percent", () => {
  expect(progress(1, 4)).toBe(25);
  expect(progress(0, 0)).toBe(100);
});
