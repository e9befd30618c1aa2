package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/openpf9/openpf9/plugin/schema"
)

// badConfig is what is wrong with a configuration.
type badConfig struct{ error }

func (b badConfig) Unwrap() error { return b.error }

func isBadConfig(err error) bool {
	_, bad := errors.AsType[badConfig](err)
	return bad
}

// BadConfig returns the error of [Plugin.New] for a value of the configuration
// that makes no sense. The plugin ends with status 78, EX_CONFIG, and the agent
// says which key it was. The key is written as in "dir" or "arrays[0].port"; the
// rest says what is wrong with its value and what would be right.
func BadConfig(key, format string, args ...any) error {
	return badConfig{fmt.Errorf("config.%s: %w", key, fmt.Errorf(format, args...))}
}

// decodeConfig sets in config, which has the defaults, what raw says. Its error
// names the key.
func decodeConfig(s *schema.Schema, raw json.RawMessage, config any) error {
	if len(raw) == 0 {
		return nil
	}
	if err := s.Validate("config", raw); err != nil {
		return badConfig{err}
	}
	err := blame("config", s, raw, func(document []byte) error {
		dec := json.NewDecoder(bytes.NewReader(document))
		dec.DisallowUnknownFields()
		return dec.Decode(config)
	})
	if err != nil {
		return badConfig{err}
	}
	return nil
}

// blame decodes a document that fits s. If that fails it tries each value by
// itself, in an object or a list of its own, and names the one that is wrong.
func blame(at string, s *schema.Schema, raw json.RawMessage, decode func([]byte) error) error {
	err := decode(raw)
	if err == nil {
		return nil
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) == nil {
		for _, key := range slices.Sorted(maps.Keys(members)) {
			alone := func(v []byte) error { return decode(encoded(map[string]json.RawMessage{key: v})) }
			if p := s.Property(key); p != nil {
				if err := blame(at+"."+key, p, members[key], alone); err != nil {
					return err
				}
			}
		}
	}
	var elements []json.RawMessage
	if json.Unmarshal(raw, &elements) == nil && s.Items != nil {
		for i, e := range elements {
			alone := func(v []byte) error { return decode(encoded([]json.RawMessage{v})) }
			if err := blame(fmt.Sprintf("%s[%d]", at, i), s.Items, e, alone); err != nil {
				return err
			}
		}
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s: want %v, not %s", at, wrong.Type, wrong.Value)
	}
	return fmt.Errorf("%s: %w", at, err)
}
