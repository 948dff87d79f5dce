package main

import (
	"fmt"
	"time"
	_ "time/tzdata" // an image may have none

	"github.com/robfig/cron/v3"
)

// nextRun is the first time after a moment that a schedule names.
func nextRun(schedule string, zone *string, after time.Time) (time.Time, error) {
	name := "UTC"
	if zone != nil && *zone != "" {
		name = *zone
	}
	location, err := time.LoadLocation(name)
	if err != nil {
		return time.Time{}, fmt.Errorf("time zone: %w", err)
	}
	parsed, err := cron.ParseStandard(schedule)
	if err != nil {
		return time.Time{}, fmt.Errorf("schedule: %w", err)
	}
	next := parsed.Next(after.In(location))
	if next.IsZero() {
		return time.Time{}, fmt.Errorf("schedule %q names no time within five years", schedule)
	}
	return next, nil
}
