// Package netcause says in plain words why something at the other end of a
// connection was not reached. Whoever calls it says what that is, and what follows.
package netcause

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"syscall"
)

// Words returns the cause without the address and the calls around it: "connection
// refused", not `Post "https://...": dial tcp 10.0.0.1:443: connect: connection
// refused`. What it does not know it returns as it is, without the request.
func Words(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok && u.Err != nil {
		err = u.Err
	}
	if via, ok := errors.AsType[*net.OpError](err); ok && via.Op == "proxyconnect" && via.Err != nil {
		return "by the proxy: " + Words(via.Err)
	}
	if words := known(err); words != "" {
		return words
	}
	if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Err != nil {
		err = dial.Err
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok && call.Err != nil {
		err = call.Err
	}
	return err.Error()
}

// Is says whether an error is of a connection, and not the other end's answer.
func Is(err error) bool {
	_, request := errors.AsType[*url.Error](err)
	var network net.Error
	return request || errors.As(err, &network) || known(err) != ""
}

func known(err error) string {
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		if name.IsNotFound {
			return fmt.Sprintf("there is no host of the name %s", name.Name)
		}
		return fmt.Sprintf("the name %s cannot be looked up (%s)", name.Name, name.Err)
	}
	for _, c := range []struct {
		is    error
		words string
	}{
		{syscall.ECONNREFUSED, "connection refused"},
		{syscall.EHOSTUNREACH, "no route to the host"},
		{syscall.ENETUNREACH, "no route to the network"},
		{syscall.ECONNRESET, "the connection was reset"},
		{syscall.EPIPE, "the connection broke off"},
		{io.EOF, "the connection broke off"},
		{io.ErrUnexpectedEOF, "the connection broke off"},
		{net.ErrClosed, "the connection was closed"},
		{context.Canceled, "interrupted"},
		{context.DeadlineExceeded, "no answer in time"},
		{os.ErrDeadlineExceeded, "no answer in time"},
	} {
		if errors.Is(err, c.is) {
			return c.words
		}
	}
	var network net.Error
	if errors.As(err, &network) && network.Timeout() {
		return "no answer in time"
	}
	return ""
}
