package client_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/internal/client"
)

func TestReadEvents(t *testing.T) {
	stream := ": hello\n\nevent: added\nid: 7\ndata: {\"a\":\ndata: 1}\n\nid: 8\n\ndata:x\n\ndata: cut off\n"
	var got []string
	err := client.ReadEvents(strings.NewReader(stream), func(e client.Event) {
		got = append(got, e.Type+"|"+e.ID+"|"+string(e.Data))
	})
	want := "added|7|{\"a\":\n1} ||x"
	if !errors.Is(err, io.ErrUnexpectedEOF) || strings.Join(got, " ") != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func FuzzReadEvents(f *testing.F) {
	f.Add("event: added\nid: 7\ndata: {}\n\n")
	f.Add(":\r\n\ndata\n\n")
	f.Fuzz(func(t *testing.T, stream string) {
		total := 0
		err := client.ReadEvents(strings.NewReader(stream), func(e client.Event) { total += len(e.Data) })
		if err == nil || total > len(stream) {
			t.Errorf("%d bytes of data from %d, %v", total, len(stream), err)
		}
	})
}
