// Package published holds the documents that are generated into docs/ to the
// types that they are generated from. It is for the tests of those types.
package published

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"github.com/openpf9/openpf9/plugin/schema"
)

// Hold returns an error if the file is not the text of s. With rewrite it writes
// the file first.
func Hold(file string, s *schema.Schema, rewrite bool) error {
	want, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	want = append(want, '\n')
	if rewrite {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			return err
		}
	}
	got, err := os.ReadFile(file)
	if err == nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("%s differs from the types", file)
	}
	return err
}
