module.exports.progress = (done, all) => (all === 0 ? 100 : Math.round((100 * done) / all));
