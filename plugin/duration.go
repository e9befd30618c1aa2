package plugin

import (
	"fmt"
	"time"
)

// Duration is a time.Duration that a configuration writes as "30s" or "5m".
type Duration time.Duration

// MarshalText writes d as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%.40q is no duration: want one such as \"30s\" or \"5m\"", b)
	}
	*d = Duration(v)
	return nil
}
